"""Words of the report grammar: how each finding of the TI-RADS lexicon is said, in English and Chinese.

Comes in: nothing. Goes out: `PHRASES[language][finding][value]`, tuples of equivalent wordings, and `SENTENCES`, the
frames they are put in. Terms follow the ACR TI-RADS lexicon (Grant et al., J. Am. Coll. Radiol. 12, 1272, 2015) and the
Chinese wording of the Kwak and C-TIRADS reports.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal, get_args

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)
Wordings = Mapping[str, tuple[str, ...]]

PHRASES: Mapping[Language, Mapping[str, Wordings]] = {
    "en": {
        "side": {"left": ("left lobe", "left thyroid lobe"), "right": ("right lobe", "right thyroid lobe")},
        "third": {
            "upper": ("upper third", "upper pole", "superior third"),
            "middle": ("middle third", "mid portion", "mid pole"),
            "lower": ("lower third", "lower pole", "inferior third"),
        },
        "composition": {
            "solid": ("solid", "completely solid"),
            "predominantly solid": ("predominantly solid", "mixed, mostly solid"),
            "predominantly cystic": ("predominantly cystic", "mixed, mostly cystic"),
            "cystic": ("cystic", "purely cystic"),
            "spongiform": ("spongiform",),
        },
        "echogenicity": {
            "markedly hypoechoic": ("markedly hypoechoic", "very hypoechoic"),
            "hypoechoic": ("hypoechoic", "mildly hypoechoic"),
            "isoechoic": ("isoechoic", "of equal echogenicity"),
            "hyperechoic": ("hyperechoic", "of increased echogenicity"),
        },
        "margin": {
            "smooth": ("smooth margin", "well-defined margin", "circumscribed border"),
            "ill-defined": ("ill-defined margin", "indistinct border"),
            "lobulated": ("lobulated margin", "microlobulated border"),
            "spiculated": ("spiculated margin", "irregular spiculated border"),
        },
        "foci": {
            "none": ("no echogenic foci", "no calcification"),
            "microcalcification": ("punctate echogenic foci", "microcalcifications"),
            "macrocalcification": ("coarse calcification", "macrocalcification with shadowing"),
        },
        "shape": {"True": ("taller-than-wide", "taller than wide"), "False": ("wider-than-tall", "wider than tall")},
        "nodes": {
            "none": (
                "No suspicious lymph node in the neck.",
                "Cervical lymph nodes: unremarkable.",
                "No enlarged neck nodes.",
            ),
            "reactive": (
                "Reactive cervical lymph nodes with fatty hilum.",
                "Oval lymph nodes with preserved hilum, likely reactive.",
            ),
            "level III": (
                "Suspicious {side} level III lymph node without hilum.",
                "Abnormal lymph node at {side} level III, suspected metastasis.",
                "{side} neck level III: round lymph node with microcalcification, suspicious.",
            ),
            "level IV": (
                "Suspicious {side} level IV lymph node without hilum.",
                "Abnormal lymph node at {side} level IV, suspected metastasis.",
                "{side} neck level IV: round lymph node with cystic change, suspicious.",
            ),
        },
        "family_history": {
            "True": ("Family history of thyroid cancer.", "Family history: positive for thyroid carcinoma."),
            "False": ("No family history of thyroid cancer.", "Family history: negative."),
        },
        "halo": {"True": ("thin halo", "hypoechoic halo"), "False": ("no halo",)},
        "diffuse": {
            "True": ("Gland diffusely heterogeneous.", "Background of diffuse thyroiditis."),
            "False": ("Gland homogeneous.", "Normal background echotexture."),
        },
        "vascularity": {
            "none": ("no flow on Doppler", "avascular"),
            "peripheral": ("peripheral vascularity", "perinodular flow"),
            "internal": ("internal vascularity", "rich intranodular flow"),
        },
    },
    "zh": {
        "side": {"left": ("左叶", "甲状腺左叶", "左侧叶"), "right": ("右叶", "甲状腺右叶", "右侧叶")},
        "third": {
            "upper": ("上部", "上极", "上1/3"),
            "middle": ("中部", "中1/3"),
            "lower": ("下部", "下极", "下1/3"),
        },
        "composition": {
            "solid": ("实性", "实质性"),
            "predominantly solid": ("实性为主", "囊实性以实性为主"),
            "predominantly cystic": ("囊性为主", "囊实性以囊性为主"),
            "cystic": ("囊性",),
            "spongiform": ("海绵状",),
        },
        "echogenicity": {
            "markedly hypoechoic": ("极低回声", "显著低回声"),
            "hypoechoic": ("低回声", "偏低回声"),
            "isoechoic": ("等回声",),
            "hyperechoic": ("高回声", "稍高回声"),
        },
        "margin": {
            "smooth": ("边缘光整", "边界清晰"),
            "ill-defined": ("边界不清", "边缘模糊"),
            "lobulated": ("边缘分叶状", "边缘微小分叶"),
            "spiculated": ("边缘毛刺状", "边缘不规则呈毛刺"),
        },
        "foci": {
            "none": ("未见钙化", "无强回声灶"),
            "microcalcification": ("见点状强回声", "可见微钙化"),
            "macrocalcification": ("见粗大钙化", "粗钙化伴声影"),
        },
        "shape": {"True": ("纵横比>1", "纵横比大于1"), "False": ("纵横比<1", "纵横比小于1")},
        "nodes": {
            "none": ("颈部未见异常淋巴结。", "双颈淋巴结未见肿大。", "颈部未见可疑淋巴结。"),
            "reactive": ("颈部见反应性淋巴结,门结构清。", "双颈淋巴结反应性增生。"),
            "level III": (
                "{side}颈Ⅲ区见可疑淋巴结。",
                "{side}颈III区淋巴结门消失,考虑转移。",
                "{side}颈3区见异常淋巴结伴微钙化。",
            ),
            "level IV": (
                "{side}颈Ⅳ区见可疑淋巴结。",
                "{side}颈IV区淋巴结门消失,考虑转移。",
                "{side}颈4区见异常淋巴结伴囊变。",
            ),
        },
        "family_history": {
            "True": ("有甲状腺癌家族史。", "家族史:甲状腺癌阳性。"),
            "False": ("无甲状腺癌家族史。", "否认家族史。"),
        },
        "halo": {"True": ("周边见声晕", "有晕环"), "False": ("无声晕",)},
        "diffuse": {
            "True": ("腺体回声弥漫不均。", "甲状腺弥漫性改变。"),
            "False": ("腺体回声均匀。", "甲状腺实质回声正常。"),
        },
        "vascularity": {
            "none": ("未见血流信号", "无明显血流"),
            "peripheral": ("周边见血流信号", "周边血流"),
            "internal": ("内部血流丰富", "内见血流信号"),
        },
    },
}

NODE_SIDE: Mapping[Language, Mapping[str, str]] = {
    "en": {"left": "left", "right": "right"},
    "zh": {"left": "左", "right": "右"},
}

SENTENCES: Mapping[Language, Mapping[str, tuple[str, ...]]] = {
    "en": {
        "nodule": (
            "{side}, {third}: {echogenicity} {composition} nodule, {size}, {shape}, {margin}, {foci}.",
            "In the {third} of the {side} a {composition}, {echogenicity} nodule of {size}; {margin}, {shape}, {foci}.",
            "{composition} {echogenicity} nodule in the {side}, {third}, with {foci}; {margin}; {shape}; size {size}.",
            "{size} nodule, {side}, {third}. {echogenicity}, {composition}, {margin}, {foci}, {shape}.",
        ),
        "brief": ("{side}, {third}: nodule, {size}.", "Nodule in the {third} of the {side}, {size}."),
        "extra": ("{vascularity}, {halo}.", "{halo}; {vascularity}.", "{vascularity}."),
        "category": ("Kwak TI-RADS {category}.", "TI-RADS category {category}.", "Impression: TI-RADS {category}."),
    },
    "zh": {
        "nodule": (
            "{side}{third}见{echogenicity}{composition}结节,{foci},{margin},{shape},大小{size}。",
            "{side}{third}{composition}{echogenicity}结节,{margin},{foci},{shape},约{size}。",
            "{side}{third}可见一{size}结节,{composition},{echogenicity},{foci},{margin},{shape}。",
        ),
        "brief": ("{side}{third}见结节,{size}。", "{side}{third}可见一{size}结节。"),
        "extra": ("{vascularity},{halo}。", "{halo},{vascularity}。", "{vascularity}。"),
        "category": ("TI-RADS {category}类。", "考虑TI-RADS {category}类。", "Kwak TI-RADS分类:{category}。"),
    },
}
