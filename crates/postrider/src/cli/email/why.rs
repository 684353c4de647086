//! `postrider email why`: why an e-mail is where it is. A running server knows best; where there is none, the record says it.

use postrider_config::{Profile, Settings};
use postrider_core::{ObjectId, Timestamp};
use postrider_store::Store;
use postrider_web::view::WhyView;
use serde_json::Value;

use super::no_such_email;
use crate::cli::context;
use crate::cli::failure::Failure;
use crate::cli::output::{BOLD, Output, printable};
use crate::cli::selftest::http;

pub(super) fn run(id: ObjectId, output: &mut Output) -> Result<(), Failure> {
    let settings = context::load(Profile::Serve)?.settings;
    let (why, silence) = match context::block_on(ask(&settings, id))? {
        Ok(why) => (why, None),
        Err(silence) => (context::with_store(async |store| of_record(store, id).await)?, Some(silence)),
    };
    if output.is_json() {
        return output.json(&why);
    }
    show(&why, output)?;
    match silence {
        Some(silence) => {
            output.line(format!("\nThis is from the record; no server was asked: {}", printable(&silence)))
        }
        None => Ok(()),
    }
}

/// What the running server says; else why it says nothing.
async fn ask(settings: &Settings, id: ObjectId) -> Result<Result<Value, String>, Failure> {
    let Some(api) = context::api_address(settings) else { return Ok(Err("API_PORT is 0".to_owned())) };
    let answer = http::get(api, &format!("/api/emails/{id}/why"), settings.api_token.as_ref()).await;
    match answer {
        Ok(answer) if answer.status == 200 => Ok(answer.json()),
        Ok(answer) if answer.status == 404 => Err(no_such_email(id)),
        Ok(answer) => Ok(Err(format!("http://{api} answered {}", answer.status))),
        Err(error) => Ok(Err(error)),
    }
}

async fn of_record(store: &dyn Store, id: ObjectId) -> Result<Value, Failure> {
    let detail = store.email(id).await?.ok_or_else(|| no_such_email(id))?;
    let now = Timestamp::system();
    let nodes = store.nodes(now).await?;
    let why = serde_json::to_value(WhyView::new(&detail, &nodes, None, now));
    why.map_err(|error| Failure::Failed(error.to_string()))
}

fn show(why: &Value, output: &mut Output) -> Result<(), Failure> {
    let deliveries = why["deliveries"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |value: &Value| printable(value.as_str().unwrap_or_default());
    if deliveries.len() != 1 {
        output.line(text(&why["summary"]))?;
    }
    for delivery in deliveries {
        let (recipient, status, reason) =
            (text(&delivery["recipient"]), text(&delivery["status"]), text(&delivery["reason"]));
        let reason = if reason == status { String::new() } else { format!(" ({reason})") };
        output.line(format!("{BOLD}To {recipient}{BOLD:#}: {status}{reason}"))?;
        output.line(format!("  {}", text(&delivery["sentence"])))?;
        if let Some(until) = delivery["until"].as_str() {
            output.line(format!("  It goes on at {} at the earliest.", printable(until)))?;
        }
    }
    Ok(())
}
