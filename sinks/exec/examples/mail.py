#!/usr/bin/env python3
"""A hookrelay sink that sends each event as an e-mail. Started by `kind = "exec"`, with this in `env`:

SMTP       the mail server, "localhost:25"
MAIL_FROM  the sender's address; MAIL_TO the recipients', separated by commas
SMTP_TLS   optional: "starttls", or "tls" for a server that speaks TLS from the start
SMTP_USER, SMTP_PASSWORD  optional

Made for the daemon's own events (source "hookrelay"), whose data has a `text`; takes any JSON object.
"""
import json
import os
import smtplib
import ssl
import sys
from email.message import EmailMessage

missing = [name for name in ("SMTP", "MAIL_FROM", "MAIL_TO") if not os.environ.get(name)]
if missing:
    sys.exit("the table of the sink needs env." + ", env.".join(missing))


def message(event):
    data = event["data"] if isinstance(event.get("data"), dict) else {"data": event.get("data")}
    mail = EmailMessage()
    mail["From"], mail["To"] = os.environ["MAIL_FROM"], os.environ["MAIL_TO"]
    # A subject is one line, whatever the event says.
    mail["Subject"] = " ".join(f'[hookrelay] {event["type"]} {event.get("subject", "")}'.split())
    # The same at each try, so that a mailbox can tell repeats.
    mail["Message-ID"] = f'<{event["id"]}@hookrelay>'
    lines = [str(data.get("text", "")), ""]
    lines += [f"{name}: {value}" for name, value in data.items() if name != "text"]
    mail.set_content("\n".join(lines))
    return mail


def send(mail):
    host, _, port = os.environ["SMTP"].rpartition(":")
    tls, context = os.environ.get("SMTP_TLS"), ssl.create_default_context()
    connect = smtplib.SMTP_SSL if tls == "tls" else smtplib.SMTP
    options = {"context": context} if tls == "tls" else {}
    with connect(host, int(port), timeout=8, **options) as server:
        if tls == "starttls":
            server.starttls(context=context)
        if os.environ.get("SMTP_USER"):
            server.login(os.environ["SMTP_USER"], os.environ.get("SMTP_PASSWORD", ""))
        server.send_message(mail)


def verdict(event):
    """Delivered where the server has taken it for all; what it refuses for good is no matter of time."""
    try:
        send(message(event))
    except smtplib.SMTPRecipientsRefused as error:
        codes = [code for code, _ in error.recipients.values()]
        outcome = "reject" if all(code >= 500 for code in codes) else "retry"
        return {"outcome": outcome, "code": "recipients", "detail": f"answered {codes}"}
    except smtplib.SMTPAuthenticationError as error:
        return {"outcome": "retry", "code": "auth", "detail": f"answered {error.smtp_code}"}
    except smtplib.SMTPResponseException as error:
        outcome = "reject" if error.smtp_code >= 500 else "retry"
        return {"outcome": outcome, "code": "smtp", "detail": f"answered {error.smtp_code}"}
    except (smtplib.SMTPException, OSError) as error:
        return {"outcome": "retry", "code": "connect", "detail": type(error).__name__}
    return {"outcome": "delivered"}


for line in sys.stdin:  # ends when hookrelay closes our input; then we end, too
    event = json.loads(line)
    print(json.dumps({"id": event["id"], **verdict(event)}), flush=True)
