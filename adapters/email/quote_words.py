"""The words by which mail programs introduce what they quote, in some twenty languages.

Data only; written from what the clients themselves produce. Sorted by language where it helps a reader.
"""

WROTE = (
    "wrote", "writes", "sent",  # en
    "schrieb", "schrieb am", "geschrieben",  # de
    "a écrit", "écrit", "ecrit",  # fr
    "escribió", "escribio", "ha escrito",  # es
    "escreveu",  # pt
    "ha scritto", "scrisse", "scritto",  # it
    "schreef", "geschreven",  # nl
    "skrev", "skriver",  # da, no, sv
    "kirjoitti",  # fi
    "napisał", "napisała", "napisał(a)", "pisze",  # pl
    "napsal", "napsala", "napsal(a)", "napísal", "napísal(a)",  # cs, sk
    "написал", "написала", "написал(а)", "пишет", "писал", "написа", "написав", "пише",  # ru, bg, uk
    "napisao", "napisala", "je napisao",  # hr, sl
    "írta", "a scris", "έγραψε", "yazdı", "şunu yazdı", "menulis", "đã viết",  # hu, ro, el, tr, id, vi
    "כתב", "כתבה", "كتب", "เขียน",  # he, ar, th
)  # fmt: skip

WROTE_UNSPACED = ("写道", "寫道", "写：", "のメッセージ", "書きました", "作成", "작성", "님이 쓴")
"""Scripts without word breaks: found anywhere in the line."""

OPENERS = (
    "on", "at", "in", "am", "um", "le", "el", "il", "op", "em", "den", "på", "w dniu", "dnia", "dne", "vào", "στις",
    "pada", "tanggal", "la", "ημερομηνία", "dňa", "在", "於", "em", "no dia", "tarihinde", "בתאריך", "في",
)  # fmt: skip

FROM_LABELS = (
    "from", "von", "de", "da", "van", "od", "fra", "från", "от", "от кого", "від", "lähettäjä", "feladó", "kimden",
    "gönderen", "από", "expéditeur", "remitente", "mittente", "afzender", "nadawca", "avsändare", "afsender",
    "absender",
    "差出人", "送信元", "发件人", "寄件者", "寄件人", "보낸 사람", "보낸사람", "dari", "từ", "מאת", "من", "message du",
)  # fmt: skip

OTHER_LABELS = (
    "sent", "date", "to", "cc", "bcc", "subject", "reply-to", "importance", "attachments", "sent by", "sent at",  # en
    "gesendet", "datum", "an", "betreff", "antwort an", "kopie",  # de
    "envoyé", "envoyé le", "date d'envoi", "à", "a", "objet", "copie à", "répondre à", "sujet",  # fr
    "enviado", "enviado el", "enviado em", "fecha", "para", "asunto", "assunto", "data", "responder a",  # es, pt
    "inviato", "oggetto", "risposta", "rispondi a",  # it
    "verzonden", "aan", "onderwerp",  # nl
    "sendt", "til", "emne", "dato", "skickat", "till", "ämne", "kopia",  # da, no, sv
    "lähetetty", "vastaanottaja", "aihe", "päivä",  # fi
    "wysłano", "wyslano", "do", "temat", "wysłane", "dw", "data wysłania",  # pl
    "odesláno", "komu", "předmět", "predmet", "kópia", "dátum",  # cs, sk
    "отправлено", "дата", "кому", "тема", "копия", "надіслано",  # ru, uk
    "küldve", "elküldve", "címzett", "tárgy",  # hu
    "gönderildi", "kime", "konu", "tarih", "bilgi",  # tr
    "εστάλη", "προς", "θέμα", "στάλθηκε",  # el
    "trimis", "către", "subiect",  # ro
    "送信日時", "宛先", "件名", "日付", "发送时间", "收件人", "主题", "日期", "抄送", "寄件日期", "收件者", "主旨",
    "보낸 날짜", "받는 사람", "받는사람", "제목", "참조",
    "đến", "chủ đề", "ngày", "נשלח", "אל", "נושא", "إلى", "الموضوع",
)  # fmt: skip

MAIL_LABELS = frozenset({
    "subject", "betreff", "objet", "sujet", "asunto", "assunto", "oggetto", "onderwerp", "emne", "ämne", "aihe",
    "temat",
    "předmět", "predmet", "тема", "tárgy", "konu", "θέμα", "subiect", "chủ đề", "件名", "主题", "主旨", "제목", "נושא",
    "الموضوع", "sent", "gesendet", "envoyé", "enviado", "enviado el", "inviato", "verzonden", "sendt", "skickat",
    "lähetetty", "wysłano", "odesláno", "отправлено", "надіслано", "küldve", "elküldve", "gönderildi", "送信日時",
    "发送时间",
})  # fmt: skip
"""What only the header of a mail is labelled with; `From`, `To` and `Date` are also what people write of a journey."""

DATE_LABELS = frozenset({"date", "sent", "datum", "gesendet", "envoyé", "fecha", "data", "enviado", "дата", "sendt"})

BAR_WORDS = (
    "original message", "original mail", "original email", "reply message", "forwarded message", "forwarded by",
    "ursprüngliche nachricht", "originalnachricht", "original-nachricht", "antwort nachricht",
    "weitergeleitete nachricht",
    "message d'origine", "message original", "message transféré", "mensaje original", "mensaje reenviado",
    "mensagem original", "mensagem encaminhada", "messaggio originale", "messaggio inoltrato", "messaggio orig.",
    "oorspronkelijk bericht", "oorspronkelijke bericht", "doorgestuurd bericht", "oprindelig meddelelse",
    "videresendt meddelelse", "opprinnelig melding", "ursprungligt meddelande", "originalmeddelande",
    "vidarebefordrat meddelande", "alkuperäinen viesti", "oryginalna wiadomość", "wiadomość oryginalna",
    "wiadomość przekazana", "původní zpráva", "pôvodná správa", "исходное сообщение", "оригинальное сообщение",
    "пересылаемое сообщение", "первоначальное сообщение", "eredeti üzenet", "orijinal mesaj", "özgün ileti",
    "αρχικό μήνυμα", "mesaj original", "原始邮件", "原始郵件", "转发邮件", "元のメッセージ", "転送されたメッセージ",
    "원본 메시지", "tin nhắn gốc",
)  # fmt: skip

FORWARD_OPENERS = (
    "begin forwarded message", "anfang der weitergeleiteten nachricht", "début du message réexpédié",
    "début du message transféré", "inizio messaggio inoltrato", "inicio del mensaje reenviado",
    "início da mensagem encaminhada", "begin doorgestuurd bericht", "påbegyndt videresendt",
    "vidarebefordrat brev", "начало переадресованного сообщения", "początek przekazywanej wiadomości",
)  # fmt: skip

FOOTER_OPENERS = (
    "sent from", "sent via", "sent using", "sent with", "get outlook for",
    "gesendet von", "gesendet mit", "von meinem", "diese nachricht wurde von",
    "envoyé de", "envoyé depuis", "envoyé à partir", "télécharger outlook",
    "enviado desde", "enviado de", "enviado do", "enviado pelo", "obtener outlook",
    "inviato da", "verstuurd vanaf", "verzonden vanaf", "verzonden met",
    "sendt fra", "skickat från", "skickades från", "lähetetty", "wysłane z", "wysłano z", "odesláno z",
    "отправлено с", "отправлено из", "iphoneから送信", "发自我的", "从我的", "從我的", "나의 iphone", "iphone'umdan",
    "gửi từ",
)  # fmt: skip
"""A line that begins so and stays short is what the program added, not what the person wrote."""
