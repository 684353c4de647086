//! The log's last records by the API, from the program itself: what it logs in this process all tests share.

use postrider_testkit::{
    HttpRequest, HttpResponse, LineClient, PostriderProcess, Script, ScriptedMx, Site, eventually, mail,
};
use serde_json::{Value, json};

use crate::support::{Follower, binary};

const TOKEN: &str = "the-first-administrators-token";

/// A hostile name: quotes allow it in a local part (RFC 5321 section 4.1.2).
const HOSTILE: &str = r#""<script>alert(1)</script>"@client.test"#;

/// A program that writes no log anywhere, with an MX to send to.
struct World {
    site: Site,
    process: PostriderProcess,
    _mx: ScriptedMx,
}

async fn world() -> World {
    let site = Site::new().await.set("ENABLE_CONSOLE_LOG", "false").set("API_TOKEN", TOKEN);
    let mx = site.mx("example.org", Script::new().on_recipient("no@example.org", "550 5.1.1 No such user")).await;
    let mut process = site.process(binary(), &["serve"]);
    process.wait_until_listening(site.smtp()).await;
    process.wait_until_listening(site.api()).await;
    World { site, process, _mx: mx }
}

impl World {
    /// Sends a message; gives its id.
    async fn send(&self, sender: &str, recipient: &str) -> String {
        let mut client = LineClient::hello(self.site.smtp()).await;
        let reply = client.send_mail(sender, &[recipient], &mail::plain("a@client.test", recipient, "logged")).await;
        client.command("QUIT").await;
        reply.id().unwrap().to_owned()
    }

    async fn get(&self, query: &str) -> HttpResponse {
        HttpRequest::get(&format!("/api/log{query}")).bearer(TOKEN).send(self.site.api()).await
    }

    async fn page(&self, query: &str) -> Value {
        let response = self.get(query).await;
        assert_eq!(response.status, 200, "{}", response.text());
        response.json()
    }

    /// Waits until what a query finds is so many records.
    async fn wait_for(&self, query: &str, count: usize) -> Vec<Value> {
        eventually(&format!("{count} records of {query}"), async || {
            let records = self.page(query).await["records"].as_array().unwrap().clone();
            (records.len() >= count).then_some(records)
        })
        .await
    }

    async fn follow(&self, query: &str, fields: &str) -> Follower {
        let fields = format!("Authorization: Bearer {TOKEN}\r\n{fields}");
        Follower::new(self.site.api(), &format!("/api/log/follow{query}"), &fields).await
    }
}

fn messages(records: &[Value]) -> Vec<&str> {
    records.iter().map(|record| record["message"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn what_is_logged_is_found_by_level_text_and_email() {
    let world = world().await;
    let sent = world.send(HOSTILE, "yes@example.org").await;
    let failed = world.send("a@client.test", "no@example.org").await;
    let records = world.wait_for(&format!("?email={sent}"), 2).await;
    assert_eq!(messages(&records), ["accepted", "delivered"]);
    let accepted = &records[0];
    assert_eq!((&accepted["level"], &accepted["email"]), (&json!("info"), &json!(sent)));
    assert_eq!((&accepted["fields"]["listener"], &accepted["fields"]["email"]), (&json!("smtp"), &json!(sent)));
    assert!(accepted["fields"]["sender"].as_str().unwrap().contains("<script>"), "{accepted}");
    assert!(
        accepted["timestamp"].as_str().unwrap().ends_with('Z')
            && accepted["target"] == "postrider_server::smtp::accept"
    );

    let of_failed = world.wait_for(&format!("?q=FAILED+for+good&email={failed}"), 1).await;
    assert_eq!(of_failed.len(), 1, "{of_failed:?}");
    assert!(
        world.page("?q=listener=api").await["records"]
            .as_array()
            .unwrap()
            .iter()
            .all(|record| record["message"] == "listening")
    );
    let all = world.page("").await;
    let numbers: Vec<u64> = all["records"].as_array().unwrap().iter().map(|r| r["number"].as_u64().unwrap()).collect();
    assert!(numbers.windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
    assert_eq!((&all["last"], &all["missed"]), (&json!(numbers.last().unwrap()), &json!(false)));
    let warnings = world.page("?level=warn").await;
    assert!(warnings["records"].as_array().unwrap().iter().all(|record| record["level"] != "info"), "{warnings}");

    // In pages, from behind a number on.
    let first = world.page(&format!("?after={}&limit=2", numbers[0])).await;
    assert_eq!((first["records"].as_array().unwrap().len(), &first["last"]), (2, &json!(numbers[2])));
    // Of the process before: it begins with the oldest.
    let before = world.page("?after=7&limit=1").await;
    assert_eq!((&before["records"][0]["number"], &before["missed"]), (&json!(numbers[0]), &json!(true)));
    assert!(world.process.output().is_empty(), "nothing on the console: {}", world.process.output());
}

#[tokio::test]
async fn what_cannot_be_meant_is_refused_by_name() {
    let world = world().await;
    for (query, name) in [
        ("?level=loud", "level"),
        ("?email=7", "email"),
        ("?after=-1", "after"),
        ("?limit=0", "limit"),
        ("?limit=1001", "limit"),
        ("?nonsense=1", "nonsense"),
        ("/follow?limit=1", "limit"),
        ("/follow?after=x", "after"),
    ] {
        let refused = world.get(query).await;
        assert_eq!((refused.status, &refused.json()["parameter"]), (400, &json!(name)), "{query}");
    }
    let long = format!("?q={}", "x".repeat(513));
    assert_eq!(world.get(&long).await.status, 400);
    assert_eq!(world.follow("", "Last-Event-ID: x\r\n").await.status, 400);
}

#[tokio::test]
async fn the_log_is_followed_and_gone_on_with() {
    let world = world().await;
    let mut all = world.follow("", "").await;
    let id = world.send("a@client.test", "no@example.org").await;
    let told = all.next().await;
    assert_eq!(told.name, "log");
    let first = &told.data["records"][0];
    assert_eq!(
        (&first["message"], &first["email"], &told.data["missed"]),
        (&json!("accepted"), &json!(id), &json!(false))
    );
    assert_eq!(told.id, told.data["last"].to_string());

    // Only what is asked for, from behind the record that was accepted.
    let number = first["number"].as_u64().unwrap();
    let mut failed = world.follow(&format!("?email={id}&q=failed"), &format!("Last-Event-ID: {number}\r\n")).await;
    let told = failed.next().await;
    assert_eq!(messages(told.data["records"].as_array().unwrap()), ["failed for good"]);
    let mut again = world.follow(&format!("?after={}", number - 1), "").await;
    assert_eq!(again.next().await.data["records"][0]["number"], number);
}

#[tokio::test]
async fn only_administrators_read_it_and_only_while_they_are() {
    let world = world().await;
    let make = async |scope: &str| {
        let settings = json!({ "name": scope, "scopes": [scope] });
        let made = HttpRequest::post("/api/tokens").json(&settings).bearer(TOKEN).send(world.site.api()).await;
        made.json()
    };
    let reader = make("read").await;
    for path in ["/api/log", "/api/log/follow"] {
        let request = HttpRequest::get(path).bearer(reader["token"].as_str().unwrap());
        assert_eq!(request.send(world.site.api()).await.status, 403, "{path}");
        assert_eq!(HttpRequest::get(path).send(world.site.api()).await.status, 401, "{path}");
    }
    let admin = make("admin").await;
    let bearing = format!("Authorization: Bearer {}\r\n", admin["token"].as_str().unwrap());
    let mut follower = Follower::new(world.site.api(), "/api/log/follow", &bearing).await;
    world.send("a@client.test", "yes@example.org").await;
    assert_eq!(follower.next().await.name, "log");
    let path = format!("/api/tokens/{}", admin["id"].as_str().unwrap());
    assert_eq!(HttpRequest::delete(&path).bearer(TOKEN).send(world.site.api()).await.status, 204);
    follower.wait_for_end().await;
}

/// Events and log share the places, and none takes all of them.
#[tokio::test]
async fn nobody_takes_all_streams() {
    let world = world().await;
    let mut own = Vec::new();
    for n in 0..50 {
        let path = if n % 2 == 0 { "/api/events" } else { "/api/log/follow" };
        own.push(Follower::new(world.site.api(), path, &format!("Authorization: Bearer {TOKEN}\r\n")).await);
    }
    assert!(own.iter().all(|follower| follower.status == 200));
    let refused = world.get("/follow").await;
    assert_eq!((refused.status, refused.header("retry-after")), (429, Some("30")));
    let settings = json!({ "name": "reader", "scopes": ["read"] });
    let made = HttpRequest::post("/api/tokens").json(&settings).bearer(TOKEN).send(world.site.api()).await.json();
    let bearing = format!("Authorization: Bearer {}\r\n", made["token"].as_str().unwrap());
    let other = Follower::new(world.site.api(), "/api/events", &bearing).await;
    assert_eq!(other.status, 200);
    // Who goes makes room.
    drop(own.pop());
    eventually("room for one", async || (world.follow("", "").await.status == 200).then_some(())).await;
}

#[tokio::test]
async fn the_page_shows_records_and_goes_on_with_them() {
    let world = world().await;
    let id = world.send(HOSTILE, "yes@example.org").await;
    world.wait_for(&format!("?email={id}"), 2).await;
    let page = async |query: &str| {
        let request = HttpRequest::get(&format!("/log{query}")).header("accept", "text/html").bearer(TOKEN);
        let response = request.send(world.site.api()).await;
        (response.status, response.text())
    };
    let (status, all) = page("").await;
    assert_eq!(status, 200, "{all}");
    assert!(all.contains("<strong>accepted</strong>") && all.contains("<strong>listening</strong>"), "{all}");
    assert!(all.contains("&#60;script&#62;alert(1)") && !all.contains("<script>alert"), "{all}");
    let (_, of_email) = page(&format!("?email={id}")).await;
    assert_eq!(of_email.matches("class=\"status info\"").count(), 2, "{of_email}");
    assert!(of_email.contains(&format!("href=\"/emails/{id}\"")), "{of_email}");

    // It goes on where the page ends, with the same filter.
    let tail = of_email.split("data-tail=\"").nth(1).unwrap().split('"').next().unwrap().replace("&amp;", "&");
    assert!(tail.starts_with("/api/log/follow?after=") && tail.ends_with(&format!("&email={id}")), "{tail}");
    let mut follower = world.follow(&tail["/api/log/follow".len()..], "").await;
    assert_eq!(follower.status, 200);
    let delete = HttpRequest::delete(&format!("/api/emails/{id}")).bearer(TOKEN).send(world.site.api()).await;
    assert_eq!(delete.status, 204);
    let told = follower.next().await;
    assert_eq!(messages(told.data["records"].as_array().unwrap()), ["an e-mail was deleted by request"]);

    let (_, warnings) = page("?level=error").await;
    assert!(
        warnings.contains("Nothing that matches was logged.") && warnings.contains("value=\"error\" selected"),
        "{warnings}"
    );
    let (status, wrong) = page("?level=%22%3E%3Cscript%3E").await;
    assert!(status == 400 && wrong.contains("level is wrong") && !wrong.contains("\"><script>"), "{wrong}");
}
