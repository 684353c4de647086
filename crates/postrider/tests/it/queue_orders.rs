//! Orders on mail that a server has taken on: what only waits in its line is held, or cancelled, before it is sent.

use std::time::Duration;

use postrider_core::{EmailStatus, ObjectId};
use postrider_testkit::{
    Answer, CommandOutput, Gate, HttpRequest, Script, ScriptedMx, Site, StoreFaults, TestPostrider, eventually, mail,
};
use serde_json::{Value, json};

use crate::support::binary;

const COUNT: usize = 30;

/// A server, with as many e-mails in line for a destination that takes six a minute; one of them was sent.
struct World {
    postrider: TestPostrider,
    slow: ScriptedMx,
    ids: Vec<ObjectId>,
}

async fn site_with_rate(site: Site) -> Site {
    let file = site.folder().join("shaping.txt");
    std::fs::write(&file, "mx.slow.test - - 6\n").unwrap();
    let path = file.to_string_lossy().into_owned();
    site.set("SHAPING_FILE", &path)
}

async fn world(site: Site) -> World {
    let site = site_with_rate(site).await;
    let slow = site.mx("slow.test", Script::new()).await;
    let postrider = site.start().await;
    let mut ids = Vec::new();
    for n in 0..COUNT {
        let message = mail::plain("a@client.test", "b@slow.test", &format!("number {n}"));
        ids.push(postrider.send("a@client.test", &["b@slow.test"], &message).await);
    }
    slow.wait_for_messages(1).await;
    World { postrider, slow, ids }
}

async fn post(postrider: &TestPostrider, path: &str, body: Value) -> Value {
    let response = postrider.request(HttpRequest::post(path).json(&body)).await;
    assert_eq!(response.status, 200, "{path} {body}");
    response.json()
}

impl World {
    async fn command(&self, arguments: &[&str]) -> CommandOutput {
        let output = self.postrider.command(binary(), arguments, "").await;
        assert_eq!(output.code, 0, "{}", output.stderr);
        output
    }

    /// How many have this status.
    async fn count(&self, status: EmailStatus) -> usize {
        self.postrider.emails().await.iter().filter(|email| email.status == status).count()
    }

    /// Waits until all but one have this status, and sees that for an hour none is sent.
    async fn rests(&self, status: EmailStatus) {
        eventually(&format!("all but one to be {status}"), async || {
            // Slowly: the order comes in the machine's time, and in ten seconds of the tests' the next one would be sent.
            self.postrider.clock().leap(Duration::from_millis(10)).await;
            (self.count(status).await == COUNT - 1).then_some(())
        })
        .await;
        self.postrider.pass(Duration::from_secs(3600)).await;
        assert_eq!(self.slow.all_messages().len(), 1);
        assert_eq!(self.count(status).await, COUNT - 1);
        for id in &self.ids {
            let detail = self.postrider.email(*id).await;
            assert_eq!(detail.deliveries[0].ordered, None);
            assert!(detail.attempts.len() <= 1 && detail.email.last_error.is_none(), "{detail:?}");
        }
    }

    async fn all_arrive(&self) {
        let _time = self.postrider.clock().run();
        self.slow.wait_for_messages(COUNT).await;
        for id in &self.ids {
            self.postrider.wait_for_status(*id, EmailStatus::Sent).await;
        }
        assert_eq!(self.slow.all_messages().len(), COUNT, "none twice");
    }
}

#[tokio::test]
async fn what_waits_in_line_is_held_and_released_by_api() {
    let world = world(Site::new().await).await;
    let slow = json!({ "domain": "slow.test" });
    let held = post(&world.postrider, "/api/queue/hold", slow.clone()).await;
    assert_eq!(held, json!({ "changed": 0, "recalled": COUNT - 1, "sending": 0, "scheduled": 0 }));
    world.rests(EmailStatus::Held).await;
    let released = post(&world.postrider, "/api/queue/release", slow).await;
    assert_eq!(released["changed"], json!(COUNT - 1));
    world.all_arrive().await;
}

#[tokio::test]
async fn what_waits_in_line_is_held_by_a_command_beside_the_server() {
    let world = world(Site::new().await).await;
    let held = world.command(&["queue", "hold", "--domain", "slow.test"]).await.stdout;
    assert!(held.contains(&format!("{} are taken on by a server", COUNT - 1)), "{held}");
    world.rests(EmailStatus::Held).await;
    // A command would release it to the machine's time.
    post(&world.postrider, "/api/queue/release", json!({ "domain": "slow.test" })).await;
    world.all_arrive().await;
}

#[tokio::test]
async fn what_waits_in_line_is_cancelled() {
    let world = world(Site::new().await).await;
    // Each by itself, all that are named, and all there are.
    let path = |id| format!("/api/emails/{id}/cancel");
    let waiting = eventually("one to be sent", async || {
        let mut waiting = Vec::new();
        for id in &world.ids {
            if world.postrider.email(*id).await.email.status == EmailStatus::Sending {
                waiting.push(*id);
            }
        }
        (waiting.len() == COUNT - 1).then_some(waiting)
    })
    .await;
    let first = post(&world.postrider, &path(waiting[0]), json!({})).await;
    assert_eq!((&first["id"], first["deliveries"][0]["status"] != "queued"), (&json!(waiting[0]), true));
    let bulk = json!({ "ids": waiting[1..5] });
    let cancelled = post(&world.postrider, "/api/emails/bulk/cancel", bulk).await;
    assert_eq!((&cancelled["changed"], &cancelled["recalled"]), (&json!(0), &json!(4)));
    let rest = world.command(&["queue", "cancel", "--all", "--json"]).await;
    let rest: Value = serde_json::from_str(&rest.stdout).unwrap();
    assert_eq!(rest["recalled"], json!(COUNT - 6));
    world.rests(EmailStatus::Cancelled).await;
    let again = world.postrider.request(HttpRequest::post(&path(waiting[0])).json(&json!({}))).await;
    assert_eq!(again.status, 409, "it is cancelled already");
    for id in &waiting {
        post(&world.postrider, &format!("/api/emails/{id}/retry"), json!({})).await;
    }
    world.all_arrive().await;
}

#[tokio::test]
async fn what_is_in_a_transaction_goes_on_and_is_held_if_it_is_to_be_tried_again() {
    let gate = Gate::new();
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "451 4.3.0 Later"))).await;
    let postrider = site.start().await;
    let message = mail::plain("a@client.test", "b@example.org", "held");
    let id = postrider.send("a@client.test", &["b@example.org"], &message).await;
    mx.wait_for_line("C: <data>", 1).await;
    let email = post(&postrider, &format!("/api/emails/{id}/hold"), json!({})).await;
    let delivery = &email["deliveries"][0];
    assert_eq!((&delivery["status"], &delivery["ordered"]), (&json!("sending"), &json!("held")));
    let shown = postrider.command(binary(), &["email", "show", &id.to_string()], "").await.stdout;
    assert!(shown.contains("held as soon as it is let go of"), "{shown}");
    gate.open();
    let detail = postrider.wait_for_status(id, EmailStatus::Held).await;
    assert_eq!((detail.email.attempts, detail.email.next_attempt_at), (1, None));
    postrider.pass(Duration::from_secs(24 * 3600)).await;
    mx.set_script(Script::new());
    post(&postrider, &format!("/api/emails/{id}/release"), json!({})).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
}

#[tokio::test]
async fn what_was_sent_before_the_server_let_go_is_sent() {
    let gate = Gate::new();
    let site = Site::new().await;
    let mx = site.mx("example.org", Script::new().on(".", Answer::after(&gate, "250 2.0.0 Taken"))).await;
    let postrider = site.start().await;
    let message = mail::plain("a@client.test", "b@example.org", "cancelled too late");
    let id = postrider.send("a@client.test", &["b@example.org"], &message).await;
    mx.wait_for_line("C: <data>", 1).await;
    post(&postrider, &format!("/api/emails/{id}/cancel"), json!({})).await;
    gate.open();
    assert_eq!(postrider.wait_for_status(id, EmailStatus::Sent).await.deliveries[0].ordered, None);
}

#[tokio::test]
async fn of_a_message_only_the_recipients_that_are_meant_are_held() {
    let site = site_with_rate(Site::new().await).await;
    let slow = site.mx("slow.test", Script::new()).await;
    // Both domains are of one destination, so that their recipients share a transaction.
    site.zone().mx("also.test", 10, "mx.slow.test");
    let postrider = site.start().await;
    let send = async |subject: &str| {
        let recipients = ["b@slow.test", "b@also.test"];
        postrider.send("a@client.test", &recipients, &mail::plain("a@client.test", "b@slow.test", subject)).await
    };
    send("first").await;
    slow.wait_for_messages(1).await;
    let id = send("second").await;
    postrider.wait_for_status(id, EmailStatus::Sending).await;
    let held = post(&postrider, "/api/queue/hold", json!({ "domain": "also.test" })).await;
    assert_eq!(held["recalled"], json!(1));
    let _time = postrider.clock().run();
    slow.wait_for_messages(2).await;
    postrider.wait_for_status(id, EmailStatus::Held).await;
    let statuses: Vec<_> = postrider.email(id).await.deliveries.iter().map(|delivery| delivery.status).collect();
    assert_eq!(statuses, [EmailStatus::Sent, EmailStatus::Held]);
    assert_eq!(slow.messages()[1].recipients.len(), 1);
    post(&postrider, "/api/queue/release", json!({ "domain": "also.test" })).await;
    slow.wait_for_messages(3).await;
    postrider.wait_for_status(id, EmailStatus::Sent).await;
}

#[tokio::test]
async fn what_is_being_sent_is_not_deleted() {
    let site = site_with_rate(Site::new().await).await;
    let slow = site.mx("slow.test", Script::new()).await;
    let postrider = site.start().await;
    let send = async |subject: &str| {
        let message = mail::plain("a@client.test", "b@slow.test", subject);
        postrider.send("a@client.test", &["b@slow.test"], &message).await
    };
    send("first").await;
    slow.wait_for_messages(1).await;
    let id = send("second").await;
    postrider.wait_for_status(id, EmailStatus::Sending).await;
    let delete = HttpRequest::delete(&format!("/api/emails/{id}"));
    let refused = postrider.request(delete.clone()).await;
    assert_eq!(refused.status, 409);
    assert!(refused.text().contains("Cancel it, or wait"), "{}", refused.text());
    let bulk = post(&postrider, "/api/emails/bulk/delete", json!({ "ids": [id] })).await;
    assert_eq!((&bulk["matched"], &bulk["changed"], &bulk["sending"]), (&json!(1), &json!(0), &json!(1)), "{bulk}");
    let time = postrider.clock().run();
    postrider.wait_for_status(id, EmailStatus::Sent).await;
    drop(time);
    assert_eq!(postrider.request(delete).await.status, 204);
}

#[tokio::test]
async fn an_order_given_at_one_node_reaches_what_another_has_claimed() {
    let site = Site::new().await.with_store_faults(&StoreFaults::of_nodes());
    let world = world(site.limit(|limits| limits.lease = Duration::from_secs(300))).await;
    let other = world.postrider.beside().await.set("MAIL_HOSTNAME", "second.test");
    let other = other.start_on(world.postrider.clock()).await;
    let held = post(&other, "/api/queue/hold", json!({ "domain": "slow.test" })).await;
    assert_eq!(held["changed"].as_u64().unwrap() + held["recalled"].as_u64().unwrap(), COUNT as u64 - 1);
    eventually("all but one to be held", async || {
        world.postrider.clock().leap(Duration::from_millis(100)).await;
        (world.count(EmailStatus::Held).await == COUNT - 1).then_some(())
    })
    .await;
    world.postrider.pass(Duration::from_secs(100)).await;
    assert_eq!(world.slow.all_messages().len(), 1);
    post(&other, "/api/queue/release", json!({ "domain": "slow.test" })).await;
    world.all_arrive().await;
}
