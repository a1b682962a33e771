"""Records the normal forms that Python's `tokenizers` makes of characters that its Unicode tables are too old for, and of their neighbours.

usage: python normal_forms.py      (needs tokenizers; writes normal-forms.json: [text, NFC, NFKD] each)
"""
import json
import os

from tokenizers import normalizers

HERE = os.path.dirname(os.path.abspath(__file__))
# Decomposed, composed or reordered since Unicode 10, and some that always were.
CODES = [0x7FD, 0x897, 0x8D3, 0x9FE, 0xEBA, 0x1715, 0x1AC0, 0x1DF6, 0x32FF, 0xA7F2, 0xAB69, 0x105C9, 0x10783, 0x10D25, 0x10EAB, 0x10F48, 0x1133B, 0x11383, 0x1145E, 0x11839, 0x11938, 0x1193E, 0x119E0, 0x11A34, 0x11D42, 0x1CCD6, 0x1E030, 0x1E130, 0x1E2EC, 0x1E4EC, 0x1F16C, 0x1FBF5]
CODES += [0x301, 0x323, 0xC5, 0x212B, 0xFB01, 0x1E9B, 0x958, 0x93C, 0xAC01, 0x1161, 0x3331, 0x1D15E, 0x1D400, 0x110AB, 0x11938 - 3]


def main():
    nfc, nfkd = normalizers.NFC(), normalizers.NFKD()
    texts = []
    for code in CODES:
        c = chr(code)
        texts += [c, "e\u0301" + c + "\u0323\u0301 \u00e9", "\u0345" + c, "a" + c + "\u0334\u0301" + c]
    rows = [[text, nfc.normalize_str(text), nfkd.normalize_str(text)] for text in texts]
    with open(os.path.join(HERE, "normal-forms.json"), "w", encoding="utf8") as file:
        json.dump(rows, file, separators=(",", ":"))
        file.write("\n")


main()
