"""English names of languages and their codes: some programs give one, and some the other."""

from collections.abc import Mapping
from typing import Final

_PAIRS: Final = (
    "en english zh chinese de german es spanish ru russian ko korean fr french ja japanese pt "
    "portuguese tr turkish pl polish ca catalan nl dutch ar arabic sv swedish it italian id "
    "indonesian hi hindi fi finnish vi vietnamese he hebrew uk ukrainian el greek ms malay cs "
    "czech ro romanian da danish hu hungarian ta tamil no norwegian th thai ur urdu hr "
    "croatian bg bulgarian lt lithuanian la latin mi maori ml malayalam cy welsh sk slovak te "
    "telugu fa persian lv latvian bn bengali sr serbian az azerbaijani sl slovenian kn "
    "kannada et estonian mk macedonian br breton eu basque is icelandic hy armenian ne nepali "
    "mn mongolian bs bosnian kk kazakh sq albanian sw swahili gl galician mr marathi pa "
    "punjabi si sinhala km khmer sn shona yo yoruba so somali af afrikaans oc occitan ka "
    "georgian be belarusian tg tajik sd sindhi gu gujarati am amharic yi yiddish lo lao uz "
    "uzbek fo faroese ps pashto tk turkmen nn nynorsk mt maltese sa sanskrit lb luxembourgish "
    "my myanmar bo tibetan tl tagalog mg malagasy as assamese tt tatar ln lingala ha hausa ba "
    "bashkir jw javanese su sundanese yue cantonese "
)
_WORDS: Final = tuple(_PAIRS.split())

CODES: Final[Mapping[str, str]] = dict(zip(_WORDS[1::2], _WORDS[::2], strict=True))
"""ISO 639 codes by the names that Whisper's vocabulary has for languages."""

_KNOWN: Final = frozenset(_WORDS[::2])


def code_of(language: str) -> str | None:
    """Return the code of a language that is given by its name or its code; `None` if unknown."""
    said = language.strip().lower()
    if said in CODES:
        return CODES[said]
    code = said.replace("_", "-").partition("-")[0]
    return code if code in _KNOWN else None
