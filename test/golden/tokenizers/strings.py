"""Writes strings.json: hard strings for tokenizers, always the same ones.

usage: python strings.py      (standard library only)
"""
import json
import os
import random
import unicodedata

HERE = os.path.dirname(os.path.abspath(__file__))

BY_HAND = [
    "", " ", "a", "A jockey riding a horse.", "Hello, world! How's it going? I'll say: 'they've won' — isn't it?",
    # case and contractions, with the characters that fold to ASCII letters
    "don't DON'T Don'T we'll WE'LL I'm I'M they'd THEY'D you're YOU'RE they've THEY'VE", "it\u2019s we\u2019re", "it'\u017f long s, \u212aelvin, 'ſ 'S 'Sa", "'s't're've'm'll'd", "x'S y'T z'RE", "İstanbul ISTANBUL ıi ẞß ǅ ǆ Ǆ",
    # CJK
    "日本語のテキスト、中文文本。한국어 텍스트", "漢字かな交じり文とカタカナ、ｶﾀｶﾅ、全角ＡＢＣ１２３！", "中文abc混排123测试", "𠜎𠜱𠝹 𪚥 rare 〇〻々", "㍿㋿㈱ ㌔ compat", "한글 자모 ᄒ\u1161ᆫ 한", "「引用」『二重』（括弧）…―〜", "゙゚ が ぱ",
    # emoji
    "😀😃😄", "smile 😀👍🏽 family 👨‍👩‍👧‍👦 flag 🇫🇷🇯🇵 keycap 1️⃣ heart ❤️ ❤ end", "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f", "👩🏽‍🚀🧑‍🤝‍🧑", "a😀b 😀 c", "☺︎ ☺️ ™️ ©",
    # combining marks
    "de\u0301compose\u0301 cafe\u0301 A\u030angstro\u0308m", "a\u0301\u0302\u0303\u0304 zalgo Z\u0351\u036b\u0343a\u0363\u0369l\u034ag\u0358o\u0336", "\u0301 alone", " \u0301 after space", "e\u0328\u0301 e\u0301\u0328 ę́ order", "\u1e9b\u0323 ẛ̣ Å Å Å Ω ﬁ ﬀ ﬃ ² ½ ① ℌ", "हिन्दी में देवनागरी क्षत्रिय", "தமிழ் ਗੁਰਮੁਖੀ ગુજરાતી বাংলা ଓଡ଼ିଆ తెలుగు ಕನ್ನಡ മലയാളം සිංහල", "ภาษาไทย ภาษาລາວ ខ្មែរ မြန်မာ བོད་ཡིག", "עִבְרִית בְּרֵאשִׁית", "العَرَبِيَّة ﷺ ﻻ", "\u0958 क\u093c nukta, \u0344 \u0308\u0301", "e\u20dd keycap\u20e3",
    # white space
    "  two leading,  two inside and two trailing  ", "tabs\tand\nnew lines\r\n\r\nand more\r", "\n", "\n\n", "\n\n\n", "\r", "\r\n", "\t", "\t\t\t\t", " \n ", "  \n  x", "x  \n  ", "a \n b", "a\n\n\n\n\nb", "a \t \n \t b", "line\n    indented\n\tcode\n", "a\u00a0b \u00a0 c", "\u3000全角 \u3000 space", "trailing newline\n", "\n leading newline", "a\u0085b \u2028 \u2029 \u200b zwsp", "\ufeffbom \ufeff mid\ufeff", "a\x0bb\x0cc", "a\x1cb\x1dc\x1ed\x1fe", "\u180emongolian", "   \u00a0   ", "x\n\u3000\ny",
    # digits and numbers
    "1 12 123 1234 12345 123456 1234567 1234567890123456789", "1,234,567.89 -1e-10 0x1F 3.14159 ½ ⅓ ¼", "٠١٢٣٤٥٦٧٨٩ ०१२३४५६७८९ 〇一二三 ０１２３４５", "② Ⅷ ⑳ ㊿ 𝟘𝟙𝟚 𝟏𝟐𝟑", "1a2b3c 4D 5E6", "２０２６年１１月２３日", "x² + y³ = z₄", "2026-11-23T23:59:59.999Z", "+49 (30) 123-456-789", "100% $100 €100 £1 ¥1",
    # control characters and friends
    "\u0000", "\u0000\u0001\u007f control", "\u0080\u0085\u009f c1", "a\u0000b", "\u00ad soft\u00adhyphen", "\u200e\u200f\u202a\u202c\u2066\u2069 bidi", "zero\u200bwidth\u200cnon\u200djoiner\u2060word", "\ufffc\ufffd\ufffe\uffff", "\U000e0001 tag \U000f0000 private \ue000", "\x1b[31mred\x1b[0m",
    # very long words
    "x" * 300, "ab" * 700, "日" * 200, "😀" * 100, "!" * 257, "a" + "\u0301" * 120, " " * 100, "\n" * 80, "0" * 333, "-" * 130 + "=" * 130, "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft", "pneumonoultramicroscopicsilicovolcanoconiosis" * 5, "https://example.org/a/very/long/path?with=query&and=more#fragment-" + "z9" * 40,
    # punctuation and code
    "!@#$%^&*()_+-=[]{}|;':\",./<>?`~", "...!!!???---***///", "<html><body class=\"x\">&amp;</body></html>", "def f(x):\n    return {'a': [1, 2], \"b\": x**2}\n", "for(int i=0;i<10;i++){a[i]=i;}", "C:\\Users\\name\\file.txt \\n \\t", "snake_case camelCase PascalCase kebab-case SCREAMING_CASE", "“quotes” ‘single’ «guillemets» „low“", "en – em — minus − hyphen ‐ bullet • dots …", "math: ∑∫√∞≈≠≤≥ ∀x∈ℝ 𝒜𝒷 α+β", "╔══╗ ║ box ║ ╚══╝ ▁▂▃▄▅▆▇█", "¿Qué? ¡Sí! ñ Ñ ç œ æ ø đ ł",
    # special tokens as text, and what looks like them
    "<s>not bos</s>", "<|endoftext|>special<|endoftext|> tokens <|endoftext|>", "<unk> <pad> [CLS] [SEP] [MASK] [UNK] [PAD]", " <s> x </s> ", "<|begin_of_text|><|eot_id|>", "<bos>a<eos> <start_of_turn>user\n", "<|im_start|>user\nhi<|im_end|>\n", "<0x0A> <0xFF> <0x41>", "under▁score ▁▁ metaspace ▁", "Ġword Ċ ĉ Ã©", "##ing ##", "<｜begin▁of▁sentence｜>", "<|fim_prefix|>x<think>y</think>",
    # other scripts
    "Ελληνικά ΕΛΛΗΝΙΚΆ ς σ Σ", "Русский текст, ЁЖ ё", "ქართული Հայերեն አማርኛ ᏣᎳᎩ ᠮᠣᠩᠭᠣᠯ", "Tiếng Việt có dấu: ế ệ ữ ỡ", "Ŵ ŵ Ĳ ĳ ŉ ǰ", "𐌰𐌱 𐎠 𓀀 𝔄𝔅 🜁", "ⁿ ₂ ª º ʰ ˈfəˈnɛtɪk", "Ⓐⓐ ⅷ Ⅷ ℃ ℡ №",
]


def of_each_block():
    """Some assigned characters of every 256 code points of the planes that have letters."""
    draw = random.Random(1)
    strings = []
    for start in list(range(0, 0x3200, 0x100)) + list(range(0x3200, 0x10000, 0x800)) + list(range(0x10000, 0x1FC00, 0x200)):
        known = [c for c in range(start, start + 0x200) if unicodedata.category(chr(c)) not in ("Cn", "Cs")]
        if not known:
            continue
        few = draw.sample(known, min(12, len(known)))
        strings.append("".join(chr(c) for c in few))
        strings.append(" ".join(chr(c) for c in few[:6]) + " a" + "b".join(chr(c) for c in few[6:]))
    return strings


def mixed():
    """Pieces of every kind, one after the other."""
    draw = random.Random(2)
    pieces = [" ", "  ", "\n", "\r\n", "\t", "a", "The", "word", "ING", "'s", "'LL", "7", "42", "1000", ",", ".", "...", "!?", "(", "\"", "-", "_", "/", "é", "e\u0301", "ß", "日本", "語", "한", "中", "😀", "👍🏽", "\u200d", "\u00a0", "\u3000", "ж", "Ω", "ع", "ा", "क", "½", "٣", "\u0000", "\u0085", "▁", "<s>", "\ufeff", "ﬁ"]
    return ["".join(draw.choice(pieces) for _ in range(draw.randint(2, 24))) for _ in range(200)]


def main():
    strings = BY_HAND + of_each_block() + mixed()
    unique = list(dict.fromkeys(strings))
    with open(os.path.join(HERE, "strings.json"), "w", encoding="utf8") as file:
        json.dump(unique, file, ensure_ascii=True, indent=0)
        file.write("\n")
    print(len(unique), "strings")


main()
