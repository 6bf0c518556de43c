"""Fake-quantized models: float tensors that take integer values only.

The method of QMedSAM (sections 2.2 and 3.3) in plain torch. A fake-quantized
model is a :class:`~napari_qmedsam.models.medsam.MedSAM` like any other: the same
calls, the same float tensors under the same names. Added to them is one learned
scale for each input of a matrix product, named as Brevitas names them, so that
checkpoints go either way:

=============================  ================================================
part of the model              its scales, each followed by
                               ``.fused_activation_quant_proxy.tensor_quant
                               .scaling_impl.value``
=============================  ================================================
linear layer, convolution      ``<layer>.input_quant``
attention                      ``<attention>.act_q.act_quant``, ``act_k``,
                               ``act_attn``, ``act_v``
relative positions (ViT)       ``<attention>.act_rh.act_quant``, ``act_rw``
masks in the mask decoder      ``mask_decoder.act_hyper_in.act_quant``,
                               ``mask_decoder.act_embedding.act_quant``
=============================  ================================================

Interface
---------
:class:`~napari_qmedsam.models.fake_quantized.settings.FakeQuantSettings`
    Bit widths, granularity of the weights, and the parts that are quantized.
:func:`~napari_qmedsam.models.fake_quantized.model.fake_quantize`
    ``fake_quantize(model, settings)`` returns a new model. Given a model whose
    encoder is fake-quantized already, it keeps it and adds the decoder::

        first = fake_quantize(model, FakeQuantSettings(decoder=False))  # stage 1
        second = fake_quantize(first, FakeQuantSettings())  # stages 2 and 3

    What is frozen in a stage is the caller's choice, through `requires_grad`.
:func:`~napari_qmedsam.models.fake_quantized.model.collect_statistics`
    ``collect_statistics(model, batches)`` sends (images, boxes) through the
    model and sets every scale that has none yet, where rounding costs least.
    After it, a state dict is the whole state, so training can be resumed from
    one. Without it, the first `statistics_steps` training forwards collect, as
    in Brevitas.
"""
