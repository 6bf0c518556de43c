from pathlib import Path

import numpy as np
import pytest
from napari.layers import Labels, Layer
from npe2 import PluginManager, PluginManifest

import napari_qmedsam
from napari_qmedsam.gui import samples
from napari_qmedsam.gui.files import get_reader, write_labels_layer
from napari_qmedsam.gui.shared.layers import VOLUME, image_layer_data, labels_layer_data
from napari_qmedsam.prompts import Box2D
from napari_qmedsam.volumes.labels import read_labels
from napari_qmedsam.volumes.segments import Segment
from napari_qmedsam.volumes.volume import Modality, Volume
from napari_qmedsam.volumes.writing import write_labels, write_volume

pytestmark = pytest.mark.gui

MANIFEST = Path(napari_qmedsam.__file__).parent / "napari.yaml"


def test_manifest_names_things_that_exist():
    manifest = PluginManifest.from_file(MANIFEST)
    manifest.validate_imports()
    contributions = manifest.contributions
    assert len(contributions.sample_data) == 3
    assert contributions.readers[0].accepts_directories


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz", ".nrrd", ".mha", ".npz"])
def test_written_files_are_read_again(volume, tmp_path, suffix):
    path = str(write_volume(volume, tmp_path / f"bars{suffix}"))
    ((data, arguments, kind),) = get_reader(path)(path)
    assert kind == "image"
    assert arguments["name"] == f"bars{suffix}"
    np.testing.assert_array_equal(data, volume.array)


def test_dicom_folder_is_read_and_others_are_left_alone(volume, tmp_path):
    import SimpleITK as sitk

    assert get_reader(str(tmp_path)) is None
    writer = sitk.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for z in range(3):
        image = sitk.GetImageFromArray(volume.array[z : z + 1])
        image.SetMetaData("0020|000e", "1.2.3.4")
        image.SetMetaData("0008|0060", "CT")
        image.SetMetaData("0008|0018", f"1.2.3.4.{z}")
        image.SetMetaData("0020|0013", str(z + 1))
        image.SetMetaData("0020|0032", f"0\\0\\{z}")
        image.SetMetaData("0020|0037", "1\\0\\0\\0\\1\\0")
        writer.SetFileName(str(tmp_path / f"{z}.dcm"))
        writer.Execute(image)
    ((data, _, _),) = get_reader(str(tmp_path))(str(tmp_path))
    assert data.shape == (3, 64, 48)
    files = [str(tmp_path / f"{z}.dcm") for z in range(3)]
    assert len(get_reader(files)(files)) == 1


def test_npz_case_brings_its_labels(tmp_path):
    path = tmp_path / "case.npz"
    labels = np.zeros((2, 8, 9), np.uint8)
    labels[1, 2:5, 3:6] = 4
    np.savez(path, imgs=np.zeros((2, 8, 9), np.uint8), gts=labels)
    image, shown = get_reader(str(path))(str(path))
    assert (image[2], shown[2]) == ("image", "labels")
    np.testing.assert_array_equal(shown[0], labels)


def test_npz_of_somebody_else_is_left_alone(tmp_path):
    path = tmp_path / "other.npz"
    np.savez(path, data=np.zeros(3))
    assert get_reader(str(path)) is None


def test_labels_return_to_the_grid_of_their_image(volume, tmp_path):
    labels = (volume.array > 0).astype(np.int32)
    layer = Layer.create(*labels_layer_data(labels, volume, "bars"))
    data, meta, _ = layer.as_layer_data_tuple()
    path = tmp_path / "labels.nrrd"
    assert write_labels_layer(str(path), data, meta) == [str(path)]
    again = read_labels(path, like=volume)
    assert again.notices == ()
    np.testing.assert_array_equal(again.array, labels)


def test_a_labels_file_opens_as_labels_where_that_is_asked_for(volume, tmp_path):
    data, arguments, _ = image_layer_data(volume, "labels")
    data = (data > 0).astype(np.uint8)
    arguments.pop("contrast_limits")  # napari leaves out what labels do not know
    arguments.pop("rgb")
    assert Layer.create(data, arguments, "labels").data.any()


def test_foreign_labels_are_written_where_they_lie(volume, tmp_path):
    layer = Layer.create(*image_layer_data(volume, "bars"))
    labels = Labels(
        np.ones(volume.shape, np.uint8),
        scale=layer.scale,
        translate=layer.translate,
        affine=layer.affine,
    )
    data, meta, _ = labels.as_layer_data_tuple()
    write_labels_layer(str(tmp_path / "labels.nii.gz"), data, meta)
    again = read_labels(tmp_path / "labels.nii.gz", like=volume)
    assert again.notices == ()


def register():
    manager = PluginManager.instance()
    if "napari-qmedsam" not in manager:
        manager.register(PluginManifest.from_file(MANIFEST))


def test_samples_open_by_the_plugin_manager(make_napari_viewer, monkeypatch):
    small = _small_case()
    monkeypatch.setattr(samples, "phantom", lambda *_: small)
    viewer = make_napari_viewer()
    register()
    viewer.open_sample("napari-qmedsam", "labelled_ct_phantom")
    assert [layer._type_string for layer in viewer.layers] == [
        "image",
        "labels",
        "shapes",
    ]
    assert all(VOLUME in layer.metadata for layer in viewer.layers)


def test_organ_boxes_hold_the_organ():
    (drawn,) = samples.organ_boxes(_small_case(), ("spleen",), margin=1)
    assert drawn.object_id == 4
    assert drawn.slice_index == 2
    assert drawn.box.in_plane == Box2D(2, 1, 7, 6)
    assert (drawn.box.z_min, drawn.box.z_max) == (1, 3)


def _small_case():
    from napari_qmedsam.phantoms.abdomen import PhantomCase

    labels = np.zeros((4, 8, 9), np.uint8)
    labels[1, 2:4, 3:5] = 4
    labels[2, 2:5, 3:6] = 4
    volume = Volume(labels.astype(np.int16) * 50, modality=Modality.CT)
    return PhantomCase(volume, volume.with_array(labels), {4: "spleen"})


@pytest.fixture
def manager():
    manager = PluginManager()
    manager.register(PluginManifest.from_file(MANIFEST))
    return manager


@pytest.mark.parametrize(
    "name", ["I", "IM3", "IM0001", "00000123", "IMG-0001-00042", "1.2.840.10008.12"]
)
def test_napari_asks_us_about_files_without_a_suffix(manager, name, tmp_path):
    (reader,) = manager.iter_compatible_readers(str(tmp_path / name))
    assert reader.command == "napari-qmedsam.get_reader"


@pytest.mark.parametrize(
    "name",
    ["a.png", "photo.of.me.jpeg", "cells.ome.tiff", "a.zarr", "film.mp4", "a.hdf5"],
)
def test_napari_does_not_ask_us_about_files_of_others(manager, name, tmp_path):
    assert not list(manager.iter_compatible_readers(str(tmp_path / name)))


def test_a_text_without_suffix_is_left_alone(tmp_path):
    (tmp_path / "README").write_text("hello " * 100)
    assert get_reader(str(tmp_path / "README")) is None


@pytest.mark.parametrize("selected", [["scan"], ["scan", "other"]])
def test_new_labels_on_an_oblique_scan_are_saved_where_they_were_painted(
    make_napari_viewer, tmp_path, selected
):
    """napari's own button makes the layer; it knows nothing of the scan's affine."""
    a = np.radians(20)
    affine = np.eye(4)
    affine[:3, :3] = np.array(
        [[np.cos(a), -np.sin(a), 0], [np.sin(a), np.cos(a), 0], [0, 0, 1]]
    ) @ np.diag([-2.0, -2.0, 3.0])
    affine[:3, 3] = (120.0, -60.0, 45.0)
    scan = Volume(np.zeros((4, 12, 10), np.int16), (3.0, 2.0, 2.0), affine)
    viewer = make_napari_viewer()
    register()
    for name in ("scan", "other"):
        viewer.add_layer(Layer.create(*image_layer_data(scan, name)))
    viewer.layers.selection = {viewer.layers[name] for name in selected}
    viewer.window._qt_viewer.layerButtons.newLabelsButton.click()
    labels = viewer.layers[-1]
    where = viewer.layers["scan"].data_to_world((2, 3, 4))
    labels.brush_size = 1
    labels.paint(np.round(labels.world_to_data(where)).astype(int), 1)
    viewer.layers.selection = {labels}
    path = str(tmp_path / "new.nii.gz")
    assert viewer.layers.save(path, selected=True, plugin="napari-qmedsam")
    saved = read_labels(tmp_path / "new.nii.gz")
    z, y, x = np.argwhere(saved.array == 1).mean(axis=0)
    painted = saved.affine @ (x, y, z, 1)
    meant = affine @ (4, 3, 2, 1)
    assert np.linalg.norm((painted - meant)[:3]) < 0.01


def test_label_files_open_as_labels_with_names_and_colours(volume, tmp_path):
    labels = np.zeros(volume.shape, np.uint8)
    labels[1, 2:5, 3:6] = 4
    named = (Segment(4, "liver", colour=(255, 0, 0)),)
    path = write_labels(labels, volume, tmp_path / "a.nii.gz", names=named)
    (data,) = get_reader(str(path))(str(path))
    layer = Layer.create(*data)
    assert isinstance(layer, Labels)
    np.testing.assert_array_equal(layer.data, labels)
    assert list(layer.features["name"]) == ["background", "liver"]
    np.testing.assert_allclose(layer.colormap.map(np.uint8(4)), [1, 0, 0, 1])
    assert layer.metadata[VOLUME].segments == named


def test_files_named_like_labels_open_as_labels_if_they_can(volume, tmp_path):
    labels = np.zeros(volume.shape, np.uint8)
    labels[1, 2:5, 3:6] = 4
    for name, expected in (
        ("ct_labels.nii.gz", "labels"),
        ("ct-seg.nrrd", "labels"),
        ("segment.nrrd", "image"),
        ("unmasked.nrrd", "image"),
    ):
        path = write_labels(labels, volume, tmp_path / name)
        assert get_reader(str(path))(str(path))[0][2] == expected
    below_zero = write_volume(volume, tmp_path / "masked_labels.nii.gz")
    assert get_reader(str(below_zero))(str(below_zero))[0][2] == "image"
