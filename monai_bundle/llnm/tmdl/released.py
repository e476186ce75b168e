"""Names of the released architecture's weights, translated to ours.

Comes in: a state dict as the authors' code (github.com/Snowinbio/LLNM-Net) saves it, with text layers in every fusion
block. Goes out: the same tensors under the names of `TMDL` built from preset `released`.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch

from llnm.errors import InputError
from llnm.tmdl.config import TMDLConfig

_EMBEDDINGS = {
    "patch_embeddings.weight": "patches.weight",
    "patch_embeddings.bias": "patches.bias",
    "rr_embeddings.weight": "report.weight",
    "rr_embeddings.bias": "report.bias",
    "img_fea_embeddings.weight": "image_values.weight",
    "img_fea_embeddings.bias": "image_values.bias",
    "sex_embeddings.weight": "sex.weight",
    "sex_embeddings.bias": "sex.bias",
    "age_embeddings.weight": "age.weight",
    "age_embeddings.bias": "age.bias",
    "position_embeddings": "image_positions",
    "pe_rr": "report_positions",
    "cls_token": "class_token",
}
# These three stand one after the other in our `scalar_positions`: (echogenicity, shape), sex, age.
_SCALAR_POSITIONS = ("pe_img_fea", "pe_sex", "pe_age")
_JOINT_LAYERS = {
    "attention_norm": "attention_norm",
    "ffn_norm": "mlp_norm",
    "ffn.fc1": "mlp.linear1",
    "ffn.fc2": "mlp.linear2",
    "attn.query": "attention.project.query",
    "attn.key": "attention.project.key",
    "attn.value": "attention.project.value",
    "attn.out": "attention.out",
}
_FUSION_LAYERS = {
    "attention_norm": "attention_norm_image",
    "att_norm_text": "attention_norm_text",
    "ffn_norm": "mlp_norm_image",
    "ffn_norm_text": "mlp_norm_text",
    "ffn.fc1": "mlp_image.linear1",
    "ffn.fc2": "mlp_image.linear2",
    "ffn_text.fc1": "mlp_text.linear1",
    "ffn_text.fc2": "mlp_text.linear2",
    "attn.query": "attention.project_image.query",
    "attn.key": "attention.project_image.key",
    "attn.value": "attention.project_image.value",
    "attn.query_text": "attention.project_text.query",
    "attn.key_text": "attention.project_text.key",
    "attn.value_text": "attention.project_text.value",
    "attn.out": "attention.out_image",
    "attn.out_text": "attention.out_text",
}


def released_names(config: TMDLConfig) -> dict[str, str]:
    """Every name of the released state dict but the three scalar positions -> our name."""
    names = {f"transformer.embeddings.{theirs}": f"embeddings.{ours}" for theirs, ours in _EMBEDDINGS.items()}
    for index in range(config.depth):
        fused = index < config.fusion_depth
        ours_block = f"fusion.{index}" if fused else f"joint.{index - config.fusion_depth}"
        for theirs, ours in (_FUSION_LAYERS if fused else _JOINT_LAYERS).items():
            for kind in ("weight", "bias"):
                names[f"transformer.encoder.layer.{index}.{theirs}.{kind}"] = f"{ours_block}.{ours}.{kind}"
    for kind in ("weight", "bias"):
        names[f"transformer.encoder.encoder_norm.{kind}"] = f"norm.{kind}"
        names[f"head.{kind}"] = f"head.{kind}"
    return names


def translate(state_dict: Mapping[str, torch.Tensor], config: TMDLConfig) -> dict[str, torch.Tensor]:
    """The released tensors under our names.

    A leading `module.` (DataParallel) is taken off. Raises InputError for another preset, and for names missing or
    left over.
    """
    if config.preset != "released":
        raise InputError(
            f"preset {config.preset!r} is not the released architecture; build with TMDL.from_preset('released')"
        )
    given = {name.removeprefix("module."): value for name, value in state_dict.items()}
    names = released_names(config)
    scalars = [f"transformer.embeddings.{name}" for name in _SCALAR_POSITIONS]
    expected = {*names, *scalars}
    missing, left_over = sorted(expected - set(given)), sorted(set(given) - expected)
    if missing or left_over:
        raise InputError(
            f"released state dict: {len(missing)} names missing ({', '.join(missing[:5])}), "
            f"{len(left_over)} left over ({', '.join(left_over[:5])}); give the whole state dict of one architecture"
        )
    translated = {ours: given[theirs] for theirs, ours in names.items()}
    translated["embeddings.scalar_positions"] = torch.cat([given[name] for name in scalars], dim=1)
    return translated
