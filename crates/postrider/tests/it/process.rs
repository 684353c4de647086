//! What only a process of its own shows: its log, and what it does where the disk takes no more.

use std::time::Duration;

use postrider_testkit::{HttpRequest, LineClient, PostriderProcess, Script, Site, eventually, mail};
use serde_json::{Value, json};

use crate::support::binary;

/// A grep for an id tells the e-mail's story.
#[tokio::test]
async fn the_log_tells_the_story_of_an_email() {
    let site = Site::new().await.set("LOG_FORMAT", "json");
    let mx = site.mx("example.org", Script::new().first(1, "RCPT", "550 5.1.1 No such user")).await;
    let mut process = site.process(binary(), &["serve"]);
    process.wait_until_listening(site.smtp()).await;
    let mut client = LineClient::hello(site.smtp()).await;
    let message = mail::plain("a@client.test", "b@example.org", "a-very-private-subject");
    let id = client.send_mail("", &["b@example.org"], &message).await.id().unwrap();
    mx.wait_for_line("550 5.1.1", 1).await;
    let story = eventually("the story", async || {
        let log = process.output();
        let story: Vec<String> = log.lines().filter(|line| line.contains(&id)).map(str::to_owned).collect();
        story.iter().any(|line| line.contains("No such user")).then_some(story)
    })
    .await;
    assert!(story.len() >= 2, "{story:#?}");
    for line in process.output().lines() {
        let entry: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert!(entry.get("timestamp").is_some() && entry.get("level").is_some(), "{entry}");
    }
    assert!(!process.output().contains("a-very-private-subject"), "no part of a message belongs in a log");
}

/// Ten thousand sessions are ten thousand open files, and the usual limit is 1,024.
#[tokio::test]
async fn the_limit_on_open_files_is_raised() {
    for (ulimit, files_max) in [("ulimit -Sn 512", None), ("ulimit -n 512", Some("512"))] {
        let site = Site::new().await;
        let limited = format!("echo \"process $$\"; {ulimit}; ulimit -Hn | sed 's/^/hard /'; exec \"$0\" serve");
        let arguments = ["-c", &limited, binary().to_str().unwrap()];
        let shell = std::path::Path::new("/bin/sh");
        let mut environment = site.environment().clone();
        environment.insert("PATH".to_owned(), std::env::var("PATH").unwrap_or_default());
        let mut process = PostriderProcess::start(shell, &arguments, &environment, site.folder());
        process.wait_until_listening(site.smtp()).await;
        let log = process.output();
        let said = |name: &str| log.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim();
        let limits = std::fs::read_to_string(format!("/proc/{}/limits", said("process "))).unwrap();
        let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
        let soft = line["Max open files".len()..].split_whitespace().next().unwrap();
        assert_eq!(soft, said("hard "));
        if let Some(files_max) = files_max {
            assert_eq!(soft, files_max);
            assert!(log.contains("the limit on open files is too low"), "{log}");
        }
    }
}

/// The process may write no file larger than this many blocks of 512 bytes.
const FILE_BLOCKS_MAX: u32 = 8192;

/// 4xx, nothing half-written, and the server lives on.
#[tokio::test]
async fn where_the_disk_takes_no_more_mail_is_put_off() {
    if !Site::is_on_sqlite() {
        return;
    }
    let site = Site::new().await.set("ALLOWED_DOMAINS", "local.test");
    let limited = format!("trap '' XFSZ; ulimit -f {FILE_BLOCKS_MAX}; exec \"$0\" serve");
    let shell = std::path::Path::new("/bin/sh");
    let arguments = ["-c", &limited, binary().to_str().unwrap()];
    let mut process = PostriderProcess::start(shell, &arguments, site.environment(), site.folder());
    process.wait_until_listening(site.smtp()).await;
    let mut client = LineClient::hello(site.smtp()).await;
    let mut taken = Vec::new();
    let refused = loop {
        let reply = client.send_mail("", &["b@local.test"], &mail::big_attachment(200_000)).await;
        match reply.code {
            250 => taken.push(reply.id().unwrap()),
            _ => break reply,
        }
        assert!(taken.len() < 100, "the limit was never reached");
    };
    assert!((400..500).contains(&refused.code), "{}", refused.text());
    assert!(!taken.is_empty());
    client.demand("NOOP", 250).await;

    let get = async |path: &str| HttpRequest::get(path).send(site.api()).await;
    assert_eq!(get("/api/emails").await.json()["pagination"]["total"], json!(taken.len()));
    for id in taken {
        let raw = get(&format!("/api/emails/{id}/raw")).await;
        assert!(raw.body.ends_with(&mail::big_attachment(200_000)), "{id} is not whole");
    }
    process.signal("TERM");
    let ended = tokio::time::timeout(Duration::from_secs(15), process.wait()).await;
    assert_eq!(ended.expect("it ends").code(), Some(0), "{}", process.output());
}
