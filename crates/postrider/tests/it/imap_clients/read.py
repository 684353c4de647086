"""Reads, searches and files mail with the standard library, and checks what it is told."""
import email
import imaplib
import ssl
import sys

host, port, security, user, password = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4], sys.argv[5]
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE
if security == "tls":
    server = imaplib.IMAP4_SSL(host, port, ssl_context=context)
else:
    server = imaplib.IMAP4(host, port)
    if security == "starttls":
        server.starttls(context)


def ask(name, *arguments):
    kind, data = getattr(server, name)(*arguments)
    assert kind == "OK", (name, arguments, kind, data)
    return data


def refuse(name, *arguments):
    kind, data = getattr(server, name)(*arguments)
    assert kind == "NO", (name, arguments, kind, data)


ask("authenticate", "PLAIN", lambda _: f"\0{user}\0{password}".encode())
capabilities = ask("capability")[0].split()
assert b"IDLE" in capabilities and b"MOVE" in capabilities, capabilities
assert any(b"INBOX" in line for line in ask("list"))
count = int(ask("select", "INBOX")[0])
assert count >= 5, count
ids = ask("search", None, "SUBJECT", '"Message"')[0].split()
assert len(ids) >= 5, ids
for number in ids[:5]:
    data = ask("fetch", number, "(UID FLAGS RFC822.SIZE BODY.PEEK[])")
    message = email.message_from_bytes(data[0][1])
    assert message["Message-ID"].startswith("<m"), message["Message-ID"]
    size = int(data[0][0].split(b"RFC822.SIZE ")[1].split()[0])
    assert size == len(data[0][1]), (size, len(data[0][1]))
ask("store", "1", "+FLAGS", r"(\Flagged work)")
assert b"work" in ask("fetch", "1", "(FLAGS)")[0]
assert ask("search", None, "KEYWORD", "work")[0] == b"1"
refuse("select", "Nowhere")
ask("select", "INBOX")
ask("create", "Folder")
refuse("create", "Folder")
ask("copy", "1:2", "Folder")
assert b"MESSAGES 2" in ask("status", "Folder", "(MESSAGES UNSEEN)")[0]
sorted_ids = server.sort("REVERSE DATE", "UTF-8", "ALL")[1][0].split()
assert len(sorted_ids) == count, sorted_ids
assert server.thread("REFERENCES", "UTF-8", "ALL")[0] == "OK"
assert server.uid("SEARCH", "TEXT", '"Body of"')[1][0].split()
assert server.append("Folder", r"(\Draft)", None, b"Subject: draft\r\n\r\nA draft.\r\n")[0] == "OK"
ask("select", "Folder")
ask("store", "1:*", "+FLAGS", r"\Deleted")
assert len(ask("expunge")) == 3
ask("close")
ask("delete", "Folder")
ask("select", "INBOX")
ask("store", "1", "-FLAGS", r"(\Flagged work)")
server.logout()
print("all is well")
