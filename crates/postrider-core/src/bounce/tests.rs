//! Replies as large providers and common servers give them.

use super::*;
use Category::*;

/// Category, whether it is a hard bounce, code, status, text.
const REPLIES: &[(Category, bool, u16, &str, &str)] = &[
    // Gmail
    (
        BadMailbox,
        true,
        550,
        "5.1.1",
        "The email account that you tried to reach does not exist. Please try\ndouble-checking the recipient's email address for typos or unnecessary spaces. - gsmtp",
    ),
    (BadMailbox, true, 550, "5.2.1", "The email account that you tried to reach is inactive. - gsmtp"),
    (BadMailbox, true, 550, "5.2.1", "The email account that you tried to reach is\ndisabled. - gsmtp"),
    (Quota, false, 552, "5.2.2", "The recipient's inbox is out of storage space and inactive. - gsmtp"),
    (Quota, false, 452, "4.2.2", "The recipient's inbox is out of storage space. - gsmtp"),
    (Policy, false, 550, "5.7.26", "This mail has been blocked because the sender is unauthenticated. - gsmtp"),
    (Policy, false, 550, "5.7.1", "Our system has detected that this message is likely unsolicited mail. - gsmtp"),
    (
        Policy,
        false,
        421,
        "4.7.28",
        "Our system has detected an unusual rate of unsolicited mail originating from your IP address. - gsmtp",
    ),
    (
        Content,
        false,
        552,
        "5.7.0",
        "This message was blocked because its content presents a potential security issue. - gsmtp",
    ),
    (
        Temporary,
        false,
        450,
        "4.2.1",
        "The user you are trying to contact is receiving mail at a rate that prevents additional messages from being delivered. - gsmtp",
    ),
    // Outlook.com and Exchange Online
    (
        BadMailbox,
        true,
        550,
        "5.5.0",
        "Requested action not taken: mailbox unavailable (S2017062302). [AM6EUR05FT050.eop-eur05.prod.protection.outlook.com]",
    ),
    (
        BadMailbox,
        true,
        550,
        "5.1.10",
        "RESOLVER.ADR.RecipientNotFound; Recipient ann@example.com not found by SMTP address lookup",
    ),
    (
        BadMailbox,
        true,
        550,
        "5.4.1",
        "Recipient address rejected: Access denied. [AM7EUR06FT011.eop-eur06.prod.protection.outlook.com]",
    ),
    (
        Policy,
        false,
        550,
        "5.7.1",
        "Unfortunately, messages from [192.0.2.1] weren't sent. Please contact your Internet service provider since part of their network is on our block list (S3140).",
    ),
    (Policy, false, 550, "5.7.606", "Access denied, banned sending IP [192.0.2.1]"),
    (
        Policy,
        false,
        550,
        "5.7.133",
        "RESOLVER.RST.SenderNotAuthenticatedForGroup; authentication required; Delivery restriction check failed",
    ),
    (
        Quota,
        false,
        554,
        "5.2.2",
        "STOREDRV.Deliver.Exception:QuotaExceededException.MapiExceptionShutoffQuotaExceeded; Failed to process message",
    ),
    (Temporary, false, 451, "4.7.500", "Server busy. Please try again later from [192.0.2.1]. (AS78901)"),
    // Exchange on premises
    (BadMailbox, true, 550, "5.1.1", "RESOLVER.ADR.RecipNotFound; not found"),
    (Policy, false, 550, "5.7.1", "Unable to relay"),
    // Yahoo and AOL
    (
        BadMailbox,
        true,
        554,
        "",
        "delivery error: dd This user doesn't have a yahoo.com account (ann@yahoo.com) [0] - mta4202.mail.gq1.yahoo.com",
    ),
    (
        BadMailbox,
        true,
        554,
        "",
        "delivery error: dd Not a valid recipient - atlas-production.v2-mail-prod1-gq1.omega.yahoo.com",
    ),
    (
        BadMailbox,
        true,
        554,
        "",
        "delivery error: dd Sorry, your message to ann@yahoo.com cannot be delivered. This mailbox is disabled (554.30).",
    ),
    (BadMailbox, true, 552, "", "1 Requested mail action aborted, mailbox not found"),
    (
        Policy,
        false,
        553,
        "5.7.1",
        "[BL21] Connections will not be accepted from 192.0.2.1, because the ip is in Spamhaus's list",
    ),
    (
        Policy,
        false,
        421,
        "4.7.0",
        "[TSS04] Messages from 192.0.2.1 temporarily deferred due to unexpected volume or user complaints - 4.16.55.1",
    ),
    (
        Policy,
        false,
        554,
        "5.7.9",
        "Message not accepted for policy reasons. See https://postmaster.yahooinc.com/error-codes",
    ),
    // Apple
    (BadMailbox, true, 550, "5.1.1", "<ann@icloud.com>: user does not exist"),
    (BadMailbox, true, 550, "5.1.6", "unknown or illegal alias: ann@me.com"),
    (Policy, false, 554, "5.7.1", "[HM08] Message rejected due to local policy."),
    // GMX and WEB.DE
    (BadMailbox, true, 550, "", "Requested action not taken: mailbox unavailable"),
    (Policy, false, 554, "", "Transaction failed\nReject due to policy restrictions."),
    // Postfix
    (
        BadMailbox,
        true,
        550,
        "5.1.1",
        "<ann@example.com>: Recipient address rejected: User unknown in local recipient table",
    ),
    (
        BadMailbox,
        true,
        550,
        "5.1.1",
        "<ann@example.com>: Recipient address rejected: undeliverable address: host mx[192.0.2.1] said: 550 5.1.1 <ann@example.com> User doesn't exist",
    ),
    (Policy, false, 554, "5.7.1", "<ann@example.com>: Relay access denied"),
    (Policy, false, 450, "4.1.8", "<bob@example.org>: Sender address rejected: Domain not found"),
    (Policy, false, 550, "5.1.0", "<bob@example.org>: Sender address rejected: User unknown in virtual mailbox table"),
    (
        Temporary,
        false,
        450,
        "4.2.0",
        "<ann@example.com>: Recipient address rejected: Greylisted, see http://postgrey.schweikert.ch/help/example.com.html",
    ),
    (Quota, false, 552, "5.3.4", "Message size exceeds fixed limit"),
    (
        Policy,
        false,
        554,
        "5.7.1",
        "Service unavailable; Client host [192.0.2.1] blocked using zen.spamhaus.org; https://www.spamhaus.org/query/ip/192.0.2.1",
    ),
    (
        Policy,
        false,
        550,
        "5.7.23",
        "<ann@example.com>: Recipient address rejected: Message rejected due to: SPF fail - not authorized",
    ),
    // Exim and cPanel
    (BadMailbox, true, 550, "", "No Such User Here"),
    (BadMailbox, true, 550, "", "Unknown user"),
    (BadMailbox, false, 550, "", "Unrouteable address"),
    (Policy, false, 550, "", "Verification failed for <bob@example.org>\nNo Such User Here\nSender verify failed"),
    (Policy, false, 550, "", "relay not permitted"),
    (
        Policy,
        false,
        550,
        "",
        "\"JunkMail rejected - mail.example.org [192.0.2.1]:45678 is in an RBL, see Client host blocked using bl.example\"",
    ),
    (Quota, false, 552, "", "Mailbox is full / Blocks limit exceeded / Inode limit exceeded"),
    // Sendmail, qmail, Dovecot, Domino
    (BadMailbox, true, 550, "5.1.1", "<ann@example.com>... User unknown"),
    (
        Policy,
        false,
        553,
        "5.1.8",
        "<bob@nowhere.example>... Domain of sender address bob@nowhere.example does not exist",
    ),
    (BadMailbox, true, 550, "", "sorry, no mailbox here by that name. (#5.1.1)"),
    (Policy, false, 553, "", "sorry, that domain isn't in my list of allowed rcpthosts (#5.7.1)"),
    (BadMailbox, true, 550, "5.1.1", "<ann@example.com> User doesn't exist: ann@example.com"),
    (Quota, false, 552, "5.2.2", "<ann@example.com> Quota exceeded (mailbox for user is full)"),
    (Content, false, 554, "5.7.1", "Message rejected due to content restrictions"),
    // Gateways
    (BadMailbox, true, 550, "", "Invalid Recipient - https://community.mimecast.com/docs/DOC-1369#550 [abc.uk1]"),
    (
        Policy,
        false,
        550,
        "",
        "Rejected by header based Anti-Spoofing policy: bob@example.org - https://community.mimecast.com/docs/DOC-1369#550",
    ),
    (Policy, false, 554, "", "Blocked - see https://ipcheck.proofpoint.com/?ip=192.0.2.1"),
    (Policy, false, 550, "", "permanent failure for one or more recipients (ann@example.com:blocked)"),
    (
        BadMailbox,
        true,
        550,
        "",
        "Message was not accepted -- invalid mailbox. Local mailbox ann@mail.ru is unavailable: user not found",
    ),
    (Content, false, 550, "", "spam message rejected. Please visit http://help.mail.ru/notspam-support/id?c=abc"),
    // Words that say little
    (BadMailbox, false, 550, "", "Administrative prohibition"),
    (BadMailbox, false, 550, "", ""),
    (Policy, false, 554, "", "Transaction failed"),
    (Temporary, false, 451, "", "Temporary local problem"),
    (BadMailbox, false, 450, "", "user unknown"),
    (BadDomain, false, 550, "5.1.2", "bad destination system"),
    (Expired, false, 554, "4.4.7", "Message expired"),
    (Protocol, false, 502, "", "Command not implemented"),
    (Other, false, 571, "", "Delivery not authorized, message refused"),
];

#[test]
fn real_replies() {
    for (category, is_hard_bounce, code, status, text) in REPLIES {
        let status = (!status.is_empty()).then_some(*status);
        let expected = Classification { category: *category, is_hard_bounce: *is_hard_bounce };
        assert_eq!(classify(Some(*code), status, text), expected, "{code} {status:?} {text}");
    }
}

#[test]
fn a_status_alone_tells() {
    let class = |status, text| classify(None, Some(status), text);
    assert_eq!(class("5.1.1", ""), Classification { category: BadMailbox, is_hard_bounce: true });
    assert_eq!(class("4.1.1", ""), Classification { category: BadMailbox, is_hard_bounce: false });
    assert_eq!(class("5.0.0", "smtp; no such user"), Classification { category: BadMailbox, is_hard_bounce: true });
    assert_eq!(class("5.0.0", ""), Classification { category: Other, is_hard_bounce: false });
    assert_eq!(class("4.4.1", ""), Classification { category: Temporary, is_hard_bounce: false });
    assert_eq!(class("5.1", ""), Classification { category: Other, is_hard_bounce: false });
    assert_eq!(classify(None, None, "").category, Temporary);
}
