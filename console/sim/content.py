"""What the sample application asks: four features of a fictional shop, with texts, conversations and customers. Values.

All names, orders and events are made up. The system prompts stand in `prompts/`, under the features' names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping


@dataclass(frozen=True, slots=True)
class Feature:
    """One AI feature of the sample application, and the prompt of the same name with the values of its variables.

    `weight` is its share of the calls, relative to the others; `dialog_share` how many of its calls belong to a conversation.
    """

    name: str
    model: str
    max_tokens: int
    weight: float
    stream_share: float
    texts: tuple[str, ...]
    variables: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    caches_prompt: bool = False
    dialog_share: float = 0.0


CUSTOMERS = (
    "acme", "birch-and-co", "cobalt-foods", "delta-garden", "easel-hotels", "fern-clinic", "granite-bank",
    "harbor-school", "indigo-travel", "juniper-books", "kestrel-energy", "lumen-studio", "maple-rental", "north-pier",
    "opal-insurance", "pine-logistics", "quartz-media", "river-sports", "summit-tools", "tulip-market",
)  # fmt: skip
CUSTOMER_WEIGHTS = tuple(1 / (rank + 2) for rank in range(len(CUSTOMERS)))
"""A few customers make most of the calls, as everywhere."""

SUPPORT_TEXTS = (
    "My order AC-20417 arrived with a cracked casserole lid. Can I get a replacement before Friday?",
    "Where is my parcel? Order 88213 was supposed to be here on Monday and the tracking page has not moved since.",
    "I was charged twice for invoice 2026-3391. Please return one of the two payments to my card.",
    "I would like to return the bread maker I bought two weeks ago. It is too loud for our small kitchen.",
    "I cannot log in any more. The password link never arrives, and I have looked in the spam folder.",
    "The pump of my garden fountain stopped after five months. Is that covered by the warranty?",
    "Can I still cancel order 90277? I ordered the wrong colour ten minutes ago.",
    "The voucher SPRING15 is not accepted at the checkout although my basket is over 60 euros.",
    "When will the cast iron pan in 28 cm be back in stock? Please keep one for me.",
    "How do I connect the kitchen scale to the app? The light blinks red and my phone finds nothing.",
    "The gardening gloves are too small. May I exchange two pairs for size L?",
    "Our office ordered forty mugs, order 77120, and nine of them were broken in the box.",
    "The courier left parcel 66031 with a neighbour who does not exist. What do I do now?",
    "Does the herb planter fit a window sill that is only 14 centimetres deep?",
    "You sent me a knife block, but I ordered a salad spinner (order 81922). Who pays for sending it back?",
    "Wo bleibt mein Paket? Die Bestellung 88540 sollte schon am Dienstag da sein, und niemand antwortet mir.",
    "Die Kaffeemühle kam beschädigt an, der Deckel ist gerissen. Bekomme ich Ersatz oder mein Geld zurück?",
    "Ich wurde für die Rechnung 2026-4410 doppelt belastet. Bitte prüfen Sie das und schreiben Sie mir.",
    "Bonjour, mon colis 55810 n'est pas arrivé et le suivi ne change pas. Que dois-je faire ?",
    "Le grille-pain est arrivé cassé. Je voudrais un remboursement, pas un autre appareil.",
    "Hola, quiero devolver la cafetera del pedido 73316 porque no funciona. ¿Cómo lo hago?",
    "Me han cobrado dos veces la factura 2026-5102 y necesito el dinero antes del viernes.",
)

SUMMARY_TEXTS = (
    "The board met on Monday in Lyon. Sales rose by 4 percent in the third quarter, mostly in garden furniture. "
    "Costs rose by 7 percent because freight became dearer. The new warehouse opens in May, two months later than "
    "planned. The board asked for a plan to cut packaging costs by 10 percent before the end of January.",
    "Between 09:10 and 09:52 the checkout was down for about a third of all customers. A change to the payment form "
    "rejected cards whose name had an accent. The change was taken back at 09:49. About 310 orders were lost, worth "
    "21,000 euros. A test with foreign names has been added.",
    "The customer called three times about order 77120. The first delivery had nine broken mugs, the second had "
    "four. The packing was the same both times. The customer now wants a refund for all forty mugs and will not "
    "order again before the packing has changed. The carrier denies any damage on its side.",
    "The city plans to close the bridge at the harbour from March to September. Trucks will have to take the "
    "northern road, which adds 25 minutes to each trip. Our morning tours to the old town would arrive after the "
    "shops open. Two carriers have offered night deliveries for an extra 12 percent.",
    "In the survey 412 of 900 customers said the search is the part of the shop they like least. They mostly miss "
    "filters for size and material. Delivery got the best marks, with 4.6 of 5. Younger customers asked for more "
    "ways to pay. Nobody mentioned the new pictures.",
    "The supplier in Porto cannot deliver the blue glaze before 14 June. It offers green for the same price, or blue "
    "at 8 percent more from another factory. Our catalogue with blue on its cover is printed already. Marketing "
    "prefers to pay the 8 percent. Purchasing would rather wait.",
    "The audit found three weaknesses in the warehouse. Two fire doors were blocked by pallets. The list of people "
    "with keys was from 2024. Returned goods were booked late, on average by six days. All three must be repaired by "
    "1 March, or the insurance premium goes up.",
    "Our newsletter went to 48,000 readers, and 31 percent opened it. The recipe had four times as many clicks as "
    "the offers. Unsubscriptions fell to 0.2 percent. The test with a shorter subject line brought 5 percent more "
    "opened mails. The team suggests one recipe in every issue.",
    "The trial of the electric van ended last week. It drove 2,900 kilometres and cost 38 percent less per kilometre "
    "than diesel. In frost its range fell from 240 to 150 kilometres. Drivers liked it, but two of them had to wait "
    "for a free charger. The lease would be 640 euros a month.",
    "A customer's child was hurt by the edge of a planter. The edge is within the standard, but sharper than that of "
    "earlier batches. 1,340 pieces of the batch have been sold. Production has changed the mould. Legal recommends "
    "writing to all buyers and offering a rubber cover.",
    "The works council and the management agreed on new shifts. From April the early shift begins at 6:30 instead of "
    "6:00. Saturday work is paid with 30 percent more. In return the breaks are planned by the team leads. The "
    "agreement runs for 18 months.",
    "The new search engine was tested for two weeks with a tenth of all visitors. They found their product in 41 "
    "seconds instead of 58. Orders rose by 2.1 percent. On old phones the page needed half a second more. The team "
    "wants to go to half of the visitors next.",
    "Der Vorstand hat am Montag getagt. Der Umsatz stieg im dritten Quartal um 4 Prozent, die Kosten um 7 Prozent. "
    "Das neue Lager öffnet erst im Mai. Bis Ende Januar soll ein Plan vorliegen, der die Verpackung um 10 Prozent "
    "billiger macht.",
    "Die Messe in Köln hatte 9,400 Besucher, etwas weniger als im Vorjahr. An unserem Stand wurden 212 Gespräche "
    "geführt. Drei Händler aus Österreich möchten die Gartenserie aufnehmen. Der Stand kostete 31,000 Euro. Ein "
    "kleinerer Stand im Frühjahr ist noch zu haben.",
    "Le nouvel entrepôt ouvrira en mai, deux mois plus tard que prévu. Le retard coûte environ 45,000 euros. Le "
    "bailleur accepte de prolonger l'ancien contrat jusqu'en juin. Douze personnes changeront de lieu de travail. "
    "Les délais de livraison ne changent pas.",
    "La tienda de Valencia vendió un 12 por ciento más que el año pasado. El mejor mes fue mayo. Dos empleados se "
    "jubilan en septiembre. El contrato del local termina en diciembre y el dueño pide un 9 por ciento más. Hay otro "
    "local libre cerca.",
)

CLASSIFY_TEXTS = (
    "I was charged twice for the same invoice.",
    "The tracking page says delivered, but there is no parcel anywhere.",
    "How can I send the toaster back? I do not need it any more.",
    "The link for a new password does not work.",
    "The app cannot find the scale over bluetooth.",
    "Is the blue planter available in a larger size?",
    "Please send the invoice again, this time with our VAT number.",
    "The courier never arrives when he says he will.",
    "I want my money back for the broken lamp.",
    "Someone has changed the email address of my account!",
    "After the update the oven's display stays dark, I have set it up twice.",
    "Do you have an opening for a summer job?",
    "What is the pan's handle made of, and is it in stock?",
    "My card was refused, but the payment shows on my statement.",
    "Wo ist mein Paket? Die Lieferung sollte gestern kommen.",
    "Ich möchte die Ware zurückgeben und das Geld erstattet bekommen.",
    "Je ne peux plus ouvrir mon compte, le mot de passe est refusé.",
    "Quiero devolver un artículo y recibir el reembolso.",
)

EMAIL_TEXTS = (
    "Write to Maria that the meeting moves to Tuesday at 10. She should bring the figures for Lyon. Lunch is arranged.",
    "Write to Mr Olsen that the blue glaze is late until 14 June. Offer him green at the old price. We need his "
    "answer by Thursday.",
    "Write to Priya that her order of forty mugs is on its way again. The packing is new. We add four mugs for the trouble.",
    "Write to Tom that the checkout was down for 42 minutes this morning. The cause is known and repaired. A report "
    "follows tomorrow.",
    "Write to Mrs Chen that we accept her offer for the office rent. The contract should begin on 1 April. Ask who "
    "reads the meters.",
    "Write to Daniel that his invoice 2026-118 was paid on Monday. It had the wrong address. The next one should "
    "name Acme Garden.",
    "Write to Aisha that we would like to invite her to the trade fair in Cologne. Travel and hotel are paid. She "
    "would speak for 20 minutes about packaging.",
    "Write to Lucas that his application was very good. We have chosen someone with more experience in logistics. We "
    "would like to keep his papers for a year.",
    "Write to Emma that the photos for the catalogue are too dark. Pages 12 to 19 need new ones. The printer waits "
    "until Friday.",
    "Write to Mr Haddad that the electric van did well in the trial. The range in winter worries us. Ask for a lease "
    "with a second charger.",
    "Write to Ingrid that the fire doors must stay free. The audit comes back on 1 March. She should check every evening.",
    "Write to Paulo that his shop sold 12 percent more than last year. We congratulate the team. Ask what made May so good.",
    "Write to Sofia that the newsletter will have a recipe in every issue. She gets 300 euros for each. The first is "
    "due in two weeks.",
    "Write to Ben that the bridge at the harbour closes in March. The morning tours will be later. He should try the "
    "night delivery for a month.",
    "Schreibe an Frau Weber, dass die Lieferung erst am 3. Mai kommt. Der Preis bleibt gleich. Sie soll uns bitte "
    "bis Freitag antworten.",
    "Schreibe an Jonas, dass die Besprechung auf Dienstag verschoben ist. Er möchte bitte die Zahlen für Köln mitbringen.",
    "Écrivez à Camille que le nouvel entrepôt ouvre en mai. Le contrat de location est prolongé. Elle doit prévenir l'équipe.",
)

DIALOGS = (
    (
        "My order AC-20988 has not arrived, and I need the baking tins for a birthday on Saturday.",
        "Thank you. And when exactly will that be?",
        "Can it go to my neighbour at number 14 if I am not at home?",
        "Good. Please send me a message as soon as it is on its way.",
    ),
    (
        "The lid of the pressure cooker from order 71850 leaks. I have used it twice.",
        "I have taken a photo. Where do I send it?",
        "And if the new lid leaks as well?",
        "Fine, then I will wait for it.",
    ),
    (
        "I was charged twice for invoice 2026-3877, once on Monday and once on Tuesday.",
        "Which of the two will you take back?",
        "My bank asks for something in writing. Can you send me that?",
        "It is still not there. What now?",
    ),
    (
        "Does the garden pump come with a warranty? Mine, from order 90514, hums but does not move any water.",
        "I have cleaned it already. What else can I try?",
        "Then I would like to send it in. Who pays for the postage?",
        "How long will I be without it?",
    ),
    (
        "Wo ist mein Paket? Die Bestellung 88611 sollte am Freitag kommen und ist noch nicht da.",
        "Und wann genau ist das?",
        "Kann es auch bei der Nachbarin abgegeben werden, wenn ich nicht da bin?",
        "Gut, dann warte ich noch bis Montag.",
    ),
    (
        "Bonjour, le robot de la commande 55901 est arrivé cassé. Que dois-je faire ?",
        "Merci. À quelle adresse dois-je envoyer la photo ?",
        "Et combien de temps est-ce que cela va prendre ?",
        "Très bien, je vous écris de nouveau si rien ne vient.",
    ),
)
"""What a customer says in a support conversation, turn by turn."""

_ACME = MappingProxyType({"product": "Acme"})

FEATURES = (
    Feature(
        name="support-reply",
        model="claude-sonnet-5-5",
        max_tokens=600,
        weight=5,
        stream_share=0.7,
        texts=SUPPORT_TEXTS,
        variables=_ACME,
        caches_prompt=True,
        dialog_share=0.15,
    ),
    Feature("summarize", "claude-sonnet-5-5", 400, 2, 0.2, SUMMARY_TEXTS),
    Feature("classify", "claude-haiku-5-5", 20, 3, 0.0, CLASSIFY_TEXTS),
    Feature("draft-email", "claude-sonnet-5-5", 700, 1.5, 0.5, EMAIL_TEXTS, _ACME),
)
BY_NAME: Mapping[str, Feature] = {feature.name: feature for feature in FEATURES}
