//! The API does what its own document says: schemathesis reads the document and asks everything in it, rightly and wrongly.

use std::net::SocketAddr;

use postrider_core::EmailStatus;
use postrider_testkit::{HttpAnswer, HttpRequest, HttpService, Script, ScriptedMx, Site, TestPostrider, mail};
use serde_json::json;

use crate::support::python;

const TOKEN: &str = "the-first-administrators-token";

/// Nobody is called but this test: whatever is made up as a URL to call becomes one of ours.
const HOOKS: &str = r#"
import os
import schemathesis

@schemathesis.hook
def map_body(context, body):
    for part in body if isinstance(body, list) else [body]:
        if isinstance(part, dict):
            for name in ("url", "webhookUrl"):
                if isinstance(part.get(name), str):
                    part[name] = os.environ["CALLED"]
    return body
"#;

/// What is asked: no 5xx, and no status, media type, field or shape that the document does not have.
const CHECKS: &str = "not_a_server_error,status_code_conformance,content_type_conformance,response_headers_conformance,\
                      response_schema_conformance,unsupported_method";

fn bearing(request: HttpRequest) -> HttpRequest {
    request.bearer(TOKEN)
}

fn api_of(postrider: &TestPostrider) -> SocketAddr {
    postrider.app().listeners().into_iter().find(|listener| listener.name == "api").unwrap().address
}

/// Something of everything, so that ids lead somewhere.
async fn filled(site: Site, called: &str) -> (TestPostrider, ScriptedMx) {
    let script = Script::new().on_recipient("no@example.org", "550 5.1.1 No");
    let mx = site.mx("example.org", script.on_recipient("later@example.org", "451 4.2.0 Later")).await;
    let postrider = site.start().await;
    for (recipient, status) in [
        ("yes@example.org", EmailStatus::Sent),
        ("no@example.org", EmailStatus::Failed),
        ("later@example.org", EmailStatus::Deferred),
        ("here@local.test", EmailStatus::Received),
    ] {
        let shape = mail::shapes().into_iter().find(|shape| shape.name == "nested").unwrap();
        let id = postrider.send("a@client.test", &[recipient], &shape.message).await;
        postrider.wait_for_status(id, status).await;
    }
    let endpoint = json!({ "url": called, "types": ["email.delivered"] });
    let made = postrider.request(bearing(HttpRequest::post("/api/webhooks").json(&endpoint))).await;
    assert_eq!(made.status, 201, "{}", made.text());
    (postrider, mx)
}

#[tokio::test]
async fn everything_is_as_the_document_says() {
    let site = Site::new().await.set("API_TOKEN", TOKEN).set("ALLOWED_DOMAINS", "local.test");
    let hook = HttpService::start(site.claim_ip(), |_| HttpAnswer::new(204, "")).await;
    let (postrider, _mx) = filled(site, &hook.url("/called")).await;
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join("hooks.py"), HOOKS).unwrap();

    let mut command = tokio::process::Command::new(python().with_file_name("schemathesis"));
    command.current_dir(folder.path()).env("SCHEMATHESIS_HOOKS", folder.path().join("hooks.py"));
    command.env("CALLED", hook.url("/called")).env("PYTHONDONTWRITEBYTECODE", "1");
    command.args(["run", &format!("http://{}/api/openapi.json", api_of(&postrider)), "--no-color", "--checks", CHECKS]);
    command.args(["--header", &format!("Authorization: Bearer {TOKEN}")]);
    // These answers have no end.
    command.args(["--exclude-path", "/api/events", "--exclude-path", "/api/log/follow"]);
    command.args(["--phases", "examples,coverage,fuzzing", "--max-examples", "10"]);
    command.args(["--seed", "1", "--generation-deterministic"]);
    let output = command.output().await.expect("cargo xtask test installs what this needs");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    // It has not only looked away.
    let generated = said.lines().find_map(|line| line.trim().split_once(" generated")?.0.parse::<u32>().ok());
    assert!(generated.is_some_and(|count| count > 500), "{said}");
}
