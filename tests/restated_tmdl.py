"""A plain re-statement of the released architecture, from its equations and names, without any module of ours."""

import math

import torch
from torch.nn.functional import conv2d, gelu, layer_norm, linear


def random_released_state(config, seed=0):
    """A state dict under the released architecture's names, written from its layer sizes."""
    generator = torch.Generator().manual_seed(seed)
    width, mlp = config.width, config.mlp_width

    def draw(*shape):
        return torch.randn(*shape, generator=generator) * 0.05

    def layer(name, inputs, outputs):
        return {f"{name}.weight": draw(outputs, inputs), f"{name}.bias": draw(outputs)}

    def norm(name):
        return {f"{name}.weight": 1 + draw(width), f"{name}.bias": draw(width)}

    e = "transformer.embeddings."
    state = {f"{e}patch_embeddings.weight": draw(width, 3, 16, 16), f"{e}patch_embeddings.bias": draw(width)}
    state |= layer(e + "rr_embeddings", 768, width)
    for name in ("img_fea_embeddings", "sex_embeddings", "age_embeddings"):
        state |= layer(e + name, 1, width)
    sizes = {"position_embeddings": 197, "pe_rr": 50, "pe_img_fea": 2, "pe_sex": 1, "pe_age": 1, "cls_token": 1}
    state |= {e + name: draw(1, count, width) for name, count in sizes.items()}
    for index in range(config.depth):
        b = f"transformer.encoder.layer.{index}."
        state |= norm(b + "attention_norm") | norm(b + "ffn_norm")
        state |= layer(b + "ffn.fc1", width, mlp) | layer(b + "ffn.fc2", mlp, width)
        projections = ["query", "key", "value", "out"]
        if index < config.fusion_depth:
            state |= norm(b + "att_norm_text") | norm(b + "ffn_norm_text")
            state |= layer(b + "ffn_text.fc1", width, mlp) | layer(b + "ffn_text.fc2", mlp, width)
            projections += ["query_text", "key_text", "value_text", "out_text"]
        for name in projections:
            state |= layer(b + "attn." + name, width, width)
    return state | norm("transformer.encoder.encoder_norm") | layer("head", width, 2)


def restated_logits(state, inputs, heads, depth, fusion_depth):
    """The released forward pass, one equation a line, in the precision of `state`."""
    s = state
    inputs = {name: value.to(s["head.weight"].dtype) for name, value in inputs.items()}

    def dense(name, x):
        return linear(x, s[name + ".weight"], s[name + ".bias"])

    def norm(name, x):
        return layer_norm(x, x.shape[-1:], s[name + ".weight"], s[name + ".bias"], eps=1e-6)

    def attention(q, k, v):
        def split(x):
            return x.reshape(*x.shape[:2], heads, -1).permute(0, 2, 1, 3)

        q, k, v = split(q), split(k), split(v)
        context = torch.softmax(q @ k.transpose(2, 3) / math.sqrt(q.shape[-1]), dim=-1) @ v
        return context.permute(0, 2, 1, 3).reshape(context.shape[0], context.shape[2], -1)

    def mlp(name, x):
        return dense(name + ".fc2", gelu(dense(name + ".fc1", x)))

    e = "transformer.embeddings."
    picture = torch.cat([inputs["location"], inputs["texture"], inputs["margin"]], dim=1)
    x = conv2d(picture, s[e + "patch_embeddings.weight"], s[e + "patch_embeddings.bias"], stride=16)
    x = torch.cat([s[e + "cls_token"].expand(len(x), -1, -1), x.flatten(2).transpose(1, 2)], dim=1)
    x = x + s[e + "position_embeddings"]
    values = torch.stack([inputs["echogenicity"], inputs["shape"]], dim=1)[:, :, None]
    t = torch.cat(
        [
            dense(e + "rr_embeddings", inputs["report"]) + s[e + "pe_rr"],
            dense(e + "img_fea_embeddings", values) + s[e + "pe_img_fea"],
            dense(e + "sex_embeddings", inputs["sex"][:, None, None]) + s[e + "pe_sex"],
            dense(e + "age_embeddings", inputs["age"][:, None, None]) + s[e + "pe_age"],
        ],
        dim=1,
    )
    for index in range(depth):
        b = f"transformer.encoder.layer.{index}."
        a = b + "attn."
        if index < fusion_depth:
            xn, tn = norm(b + "attention_norm", x), norm(b + "att_norm_text", t)
            qi, ki, vi = (dense(a + name, xn) for name in ("query", "key", "value"))
            qt, kt, vt = (dense(a + name + "_text", tn) for name in ("query", "key", "value"))
            x = x + dense(a + "out", (attention(qi, ki, vi) + attention(qi, kt, vt)) / 2)
            t = t + dense(a + "out", (attention(qt, kt, vt) + attention(qt, ki, vi)) / 2)
            x = x + mlp(b + "ffn", norm(b + "ffn_norm", x))
            t = t + mlp(b + "ffn_text", norm(b + "ffn_norm_text", t))
        else:
            if index == fusion_depth:
                x = torch.cat([x, t], dim=1)
            xn = norm(b + "attention_norm", x)
            x = x + dense(a + "out", attention(*(dense(a + name, xn) for name in ("query", "key", "value"))))
            x = x + mlp(b + "ffn", norm(b + "ffn_norm", x))
    return dense("head", norm("transformer.encoder.encoder_norm", x).mean(dim=1))
