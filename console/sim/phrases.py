"""The words that simulated answers are made of, by language. Values only; `answers` puts them together.

In the texts `{gist}` is a fragment of the question, `{ref}` an order or invoice number with a leading space (or
nothing), `{shop}` the shop's name and `{first}`, `{second}` words that the question used.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


STOPWORDS: Mapping[str, frozenset[str]] = {
    "en": _words(
        "the a an and or of to in is are was were i my me you your it this that for on with at have has had be not do "
        "does did can could would please but so if from we our they there what when how why which by as about been "
        "will just also still than then them their his her she he any some all only after before because where"
    ),
    "de": _words(
        "der die das und oder ist sind war ich mein meine meinem meiner sie ihr wir uns es ein eine einen einem nicht "
        "mit auf für von zu zum zur im den dem des bitte aber wenn habe hat haben kann wie warum was noch auch nach "
        "bei seit schon wird wurde dass am an als"
    ),
    "fr": _words(
        "le la les un une des et ou est sont je mon ma mes vous votre nous il elle ce cette pour avec dans sur pas ne "
        "que qui du de au aux mais si bonjour merci comment pourquoi quand plus par été avez j'ai c'est"
    ),
    "es": _words(
        "el la los las un una y o es son mi mis yo usted su sus nosotros este esta para con en por no que de del al "
        "pero si hola gracias cómo qué cuándo cuando más me se ha he lo le"
    ),
}

TOPIC_WORDS: Mapping[str, tuple[str, ...]] = {
    "damage": ("damag", "broken", "crack", "leak", "scratch", "defect", "beschädig", "kaputt", "cassé", "abîmé", "roto",
               "dañad"),
    "refund": ("refund", "return", "money back", "send it back", "do not need", "rückgabe", "zurückgeb",
               "erstatt", "rembours", "retour", "devol", "reembols"),
    "cancel": ("cancel", "stornier", "kündig", "annul", "cancel"),
    "invoice": ("invoice", "bill", "charge", "vat", "payment", "paid", "card", "rechnung", "bezahl", "facture",
                "paiement", "factura", "cobr", "pago"),
    "account": ("password", "log in", "login", "account", "sign in", "email address", "passwort", "anmeld", "konto",
                "mot de passe", "compte", "contraseña", "cuenta"),
    "warranty": ("warranty", "guarantee", "repair", "garantie", "reparatur", "garantía", "reparación"),
    "size": ("size", "fit", "too small", "too big", "exchange", "größe", "umtausch", "taille", "échang", "talla",
             "cambiar"),
    "discount": ("discount", "voucher", "coupon", "code", "gutschein", "rabatt", "réduction", "descuento", "cupón"),
    "stock": ("in stock", "available", "back in", "sold out", "lieferbar", "verfügbar", "disponible", "agotad"),
    "delivery": ("deliver", "ship", "parcel", "package", "arriv", "tracking", "courier", "lieferung", "paket",
                 "sendung", "livraison", "colis", "envío", "entrega", "paquete", "pedido"),
    "setup": ("set up", "set it up", "update", "setup", "install", "connect", "app", "wifi", "bluetooth",
              "einricht", "verbind", "configur", "instal"),
}  # fmt: skip
"""Stems that give a topic away, in every language at once; the first topic with the most hits wins."""


@dataclass(frozen=True, slots=True)
class SupportPhrases:
    """One language's parts of a customer service answer."""

    openings: tuple[str, ...]
    topics: Mapping[str, str]
    otherwise: str
    noted: str
    vague: tuple[str, ...]
    closings: tuple[str, ...]
    cheers: tuple[str, ...]
    """Openings that would do for any message."""
    refunds: tuple[str, ...]
    """Money promised without a look at the case."""
    promises: tuple[str, ...]
    """Everything else promised without a look at the case."""


MONEY_TOPICS = frozenset({"damage", "refund", "cancel", "invoice", "warranty", "size", "discount", "delivery"})
"""Topics of which a customer hopes for money."""

SUPPORT: Mapping[str, SupportPhrases] = {
    "en": SupportPhrases(
        openings=(
            "Thank you for writing to {shop} about “{gist}”.",
            "I have read what you told us about “{gist}”, and I can help with that.",
            "I am sorry for the trouble with “{gist}”.",
        ),
        topics={
            "damage": "Please send us one photo of the damage{ref}; we then ship a replacement within 2 working days, "
            "and you need not return the damaged item.",
            "refund": "You can return it{ref} within 30 days: print the label from My Orders, hand the parcel in, and "
            "the money is back on the same card 5 working days after it reaches our warehouse.",
            "cancel": "I can cancel it{ref} as long as it has not left the warehouse, which usually takes 4 hours; "
            "the amount is released on your card the same day.",
            "invoice": "I have checked the billing{ref}: you find the corrected invoice under My Orders, Documents, "
            "and a charge made twice is returned within 3 working days.",
            "account": "Open the sign-in page, choose “Forgotten password” and use the link within 60 minutes; if "
            "no message arrives, look in the spam folder or give us a second address.",
            "warranty": "The item is covered for 24 months{ref}: the repair is free, takes about 10 days, and we "
            "pay for the postage both ways.",
            "size": "We exchange it{ref} free of charge within 30 days; choose the new size in My Orders and keep "
            "the old one until the courier collects it.",
            "discount": "The code works once per customer on orders over 40 euros and not on items already "
            "reduced; I have put a new one, valid for 14 days, into your account.",
            "stock": "The next delivery is expected in about 9 days; press “Tell me” on the product page and "
            "we keep one for you for 48 hours.",
            "delivery": "The parcel{ref} is with the courier and normally takes 2 to 4 working days; the tracking "
            "link is in your confirmation, and if nothing moves for 3 days we send it again.",
            "setup": "Hold the power button for 8 seconds until the light blinks blue, open the {shop} app, choose "
            "Add device and keep the phone within 2 metres while they connect.",
        },
        otherwise="I have passed it{ref} to the colleague in charge, who will answer you within 1 working day with "
        "a definite solution.",
        noted="I have also noted what you said about {first} and {second}, so nobody needs to ask again.",
        vague=(
            "This depends on a few things, so it may take some time.",
            "Usually such cases can be solved in one way or another.",
        ),
        closings=(
            "If anything is left open, just answer this message.",
            "Tell me if that does not work for you and I will look for another way.",
            "Is there anything else I can do for you?",
        ),
        cheers=("Great that you got in touch!", "Good news!", "Happy to help!"),
        refunds=(
            "Of course, you get the full price back today and keep what you have.",
            "Consider it done: the whole amount is on its way back to you.",
        ),
        promises=(
            "Of course, everything is arranged exactly as you wish, today.",
            "Yes, that is no problem at all, consider it done.",
        ),
    ),
    "de": SupportPhrases(
        openings=(
            "Vielen Dank für Ihre Nachricht an {shop} zu „{gist}“.",
            "Es tut mir leid, dass Sie Ärger mit „{gist}“ haben.",
        ),
        topics={
            "damage": "Bitte schicken Sie uns ein Foto des Schadens{ref}; der Ersatz geht innerhalb von 2 Werktagen "
            "an Sie heraus, die alte Ware dürfen Sie behalten.",
            "refund": "Sie können die Ware{ref} innerhalb von 30 Tagen zurückgeben: das Etikett liegt unter Meine "
            "Bestellungen, das Geld ist 5 Werktage nach dem Eingang wieder auf Ihrem Konto.",
            "invoice": "Ich habe die Abrechnung{ref} geprüft: die korrigierte Rechnung liegt unter Meine "
            "Bestellungen, eine doppelte Abbuchung kommt in 3 Werktagen zurück.",
            "account": "Wählen Sie auf der Anmeldeseite „Passwort vergessen“; der Link gilt 60 Minuten und landet "
            "manchmal im Spam-Ordner.",
            "warranty": "Sie haben 24 Monate Garantie{ref}: die Reparatur kostet nichts und dauert etwa 10 Tage.",
            "delivery": "Das Paket{ref} ist beim Zusteller und braucht 2 bis 4 Werktage; bewegt sich 3 Tage lang "
            "nichts, schicken wir es noch einmal.",
        },
        otherwise="Ich habe Ihr Anliegen{ref} an die zuständige Kollegin gegeben, die sich innerhalb eines Werktags "
        "mit einer Lösung meldet.",
        noted="Was Sie zu {first} und {second} geschrieben haben, steht jetzt im Vorgang.",
        vague=("Das hängt von einigen Umständen ab und kann etwas dauern.",),
        closings=("Melden Sie sich gern, falls etwas offen bleibt.", "Kann ich sonst noch etwas für Sie tun?"),
        cheers=("Schön, dass Sie uns schreiben!", "Das ist eine gute Nachricht für Sie!"),
        refunds=("Sie bekommen den vollen Preis noch heute zurück und behalten die Ware.",),
        promises=("Das ist überhaupt kein Problem und wird noch heute für Sie erledigt.",),
    ),
    "fr": SupportPhrases(
        openings=(
            "Merci d'avoir écrit à {shop} au sujet de « {gist} ».",
            "Je suis désolé pour ce souci avec « {gist} ».",
        ),
        topics={
            "damage": "Envoyez-nous une photo{ref} et un article neuf part sous 2 jours ouvrés ; inutile de renvoyer l'ancien.",
            "refund": "Vous avez 30 jours pour le retour{ref} : l'étiquette est dans Mes commandes et le remboursement "
            "arrive 5 jours ouvrés après la réception.",
            "invoice": "J'ai vérifié la facturation{ref} : la facture corrigée est dans Mes commandes et un double "
            "débit est rendu sous 3 jours ouvrés.",
            "account": "Choisissez « Mot de passe oublié » sur la page de connexion ; le lien est valable 60 minutes.",
            "delivery": "Le colis{ref} est chez le transporteur et met 2 à 4 jours ouvrés ; sans mouvement pendant "
            "3 jours, nous le renvoyons.",
        },
        otherwise="J'ai transmis votre demande{ref} à la personne concernée, qui répondra sous un jour ouvré.",
        noted="J'ai aussi noté ce que vous dites de {first} et {second}.",
        vague=("Cela dépend de plusieurs choses et peut prendre un peu de temps.",),
        closings=("N'hésitez pas à répondre à ce message.", "Puis-je faire autre chose pour vous ?"),
        cheers=("Merci de nous écrire !", "Bonne nouvelle pour vous !"),
        refunds=("Nous vous rendons la totalité du prix aujourd'hui, et vous gardez l'article.",),
        promises=("C'est sans problème et ce sera fait pour vous aujourd'hui.",),
    ),
    "es": SupportPhrases(
        openings=(
            "Gracias por escribir a {shop} sobre «{gist}».",
            "Siento mucho las molestias con «{gist}».",
        ),
        topics={
            "damage": "Envíenos una foto{ref} y mandamos otro artículo en 2 días laborables; no hace falta devolver el dañado.",
            "refund": "Tiene 30 días para devolverlo{ref}: la etiqueta está en Mis pedidos y el dinero vuelve 5 días "
            "laborables después de recibirlo.",
            "invoice": "He revisado el cobro{ref}: la factura corregida está en Mis pedidos y un cargo doble se "
            "devuelve en 3 días laborables.",
            "delivery": "El paquete{ref} está con el mensajero y tarda de 2 a 4 días laborables; si no se mueve en "
            "3 días, lo enviamos otra vez.",
        },
        otherwise="He pasado su consulta{ref} a la persona encargada, que responderá en un día laborable.",
        noted="También he anotado lo que cuenta sobre {first} y {second}.",
        vague=("Depende de varias cosas y puede tardar un poco.",),
        closings=("Si queda algo pendiente, responda a este mensaje.", "¿Puedo ayudarle en algo más?"),
        cheers=("¡Qué bien que nos escriba!", "¡Buenas noticias para usted!"),
        refunds=("Le devolvemos hoy el precio completo y se queda con el artículo.",),
        promises=("No es ningún problema y queda hecho hoy mismo para usted.",),
    ),
}


@dataclass(frozen=True, slots=True)
class EmailPhrases:
    """One language's frame of an email."""

    subject: str
    greeting: str
    opening: str
    point: str
    ask: str
    vague: str
    closing: str


EMAIL: Mapping[str, EmailPhrases] = {
    "en": EmailPhrases(
        "Subject: {gist}", "Hello{to},", "I am writing about the following: {point}", "In addition, {point}",
        "Could you let me know by the end of the week whether this suits you? I am free for a short call on Tuesday "
        "or Thursday afternoon.",
        "Let us talk about the details some time.", "Kind regards,\nThe {shop} team",
    ),
    "de": EmailPhrases(
        "Betreff: {gist}", "Guten Tag{to},", "ich schreibe Ihnen aus folgendem Anlass: {point}", "Außerdem: {point}",
        "Geben Sie mir bitte bis Ende der Woche Bescheid, ob Ihnen das passt? Für ein kurzes Gespräch bin ich am "
        "Dienstag oder Donnerstag erreichbar.",
        "Über die Einzelheiten können wir noch sprechen.", "Mit freundlichen Grüßen\nIhr Team von {shop}",
    ),
    "fr": EmailPhrases(
        "Objet : {gist}", "Bonjour{to},", "Je vous écris à ce sujet : {point}", "De plus, {point}",
        "Pourriez-vous me dire avant la fin de la semaine si cela vous convient ? Je suis joignable mardi ou jeudi.",
        "Nous pourrons voir les détails plus tard.", "Cordialement,\nL'équipe {shop}",
    ),
    "es": EmailPhrases(
        "Asunto: {gist}", "Hola{to}:", "Le escribo por lo siguiente: {point}", "Además, {point}",
        "¿Podría decirme antes del viernes si le parece bien? Estoy libre para una llamada el martes o el jueves.",
        "Podemos hablar de los detalles más adelante.", "Un saludo,\nEl equipo de {shop}",
    ),
}  # fmt: skip

SUMMARY_OPENING: Mapping[str, str] = {
    "en": "In short: ",
    "de": "Kurz gesagt: ",
    "fr": "En bref : ",
    "es": "En resumen: ",
}

GENERIC_OPENINGS = (
    "On “{gist}”: the main point is {first}, and it matters most together with {second}.",
    "For “{gist}” I would start with {first} and then look at {second}.",
    "The short answer to “{gist}” is yes, provided that {first} and {second} fit together.",
)
GENERIC_DETAILS = (
    "Begin with {first}, because everything else rests on it.",
    "Check {second} before going on; that is where most mistakes happen.",
    "A sensible order is {first} first, {second} second, and a short test after each.",
    "If time is short, leave {second} for later and finish {first}.",
)
GENERIC_VAGUE = "In general this depends on the situation, and there are several ways to see it."

LABEL_HINTS: Mapping[str, tuple[str, ...]] = {
    "billing": ("invoice",), "payment": ("invoice",), "invoice": ("invoice",), "refund": ("refund",),
    "return": ("refund", "size"), "shipping": ("delivery",), "delivery": ("delivery",), "logistic": ("delivery",),
    "account": ("account",), "login": ("account",), "technical": ("setup", "warranty"), "tech": ("setup",),
    "bug": ("setup",), "product": ("stock", "size", "warranty"), "damage": ("damage",), "complaint": ("damage",),
    "cancel": ("cancel",), "sales": ("discount", "stock"), "promotion": ("discount",), "warranty": ("warranty",),
}  # fmt: skip
"""Which topics speak for a label that contains this word."""
