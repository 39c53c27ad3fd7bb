"""Two themes that stay apart for colour-blind eyes: sky blue, yellow and vermillion. The only colours of the
console."""

from __future__ import annotations

from typing import Final

from textual.theme import Theme

DARK: Final = Theme(
    name="console-dark",
    primary="#56B4E9",
    secondary="#56B4E9",
    accent="#56B4E9",
    success="#56B4E9",
    warning="#F0E442",
    error="#FF7A1A",  # vermillion, lighter: #D55E00 has too little contrast for text on black
    foreground="#E4E4E4",
    background="#101010",
    surface="#101010",
    panel="#1C1C1C",
    dark=True,
    variables={
        "console-dim": "#9A9A9A",
        "console-cursor": "#2A3A46",
        "console-border": "#505050",
        "console-alarm": "#D55E00",
        "console-on-alarm": "#FFFFFF",
    },
)

LIGHT: Final = Theme(
    name="console-light",
    primary="#005B8F",
    secondary="#005B8F",
    accent="#005B8F",
    success="#005B8F",
    warning="#6B5E00",
    error="#A84300",
    foreground="#1A1A1A",
    background="#FAFAFA",
    surface="#FAFAFA",
    panel="#ECECEC",
    dark=False,
    variables={
        "console-dim": "#5C5C5C",
        "console-cursor": "#CFE6F5",
        "console-border": "#A0A0A0",
        "console-alarm": "#D55E00",
        "console-on-alarm": "#FFFFFF",
    },
)

DEFAULT: Final = DARK.name
