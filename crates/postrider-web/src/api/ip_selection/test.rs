//! `POST /api/ip-selection/test`: asks the service once, and shows what it was asked, what it answered and what would be
//! done with that. Nothing is sent, and nothing is remembered.

use axum::Json;
use axum::extract::State;
use postrider_core::source::IpSelectionTest;
use postrider_core::{Address, ObjectId, ReversePath, SourceQuestion};
use serde::Deserialize;

use crate::AppState;
use crate::api::emails::no_such_email;
use crate::extract::JsonBody;
use crate::problem::Problem;

/// An e-mail, or who writes to whom.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[schema(as = IpSelectionQuestion)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::api) struct Body {
    id: Option<String>,
    sender: Option<String>,
    recipient: Option<String>,
}

/// Ask the service once, and send nothing.
#[utoipa::path(
    post,
    path = "/api/ip-selection/test",
    operation_id = "testIpSelection",
    tag = "source addresses",
    request_body = Body,
    responses((status = 200, description = "The exchange, and what would be done with it.", body = IpSelectionTest))
)]
pub(in crate::api) async fn test(
    State(state): State<AppState>,
    JsonBody(body): JsonBody<Body>,
) -> Result<Json<IpSelectionTest>, Problem> {
    let question = match body {
        Body { id: Some(id), sender: None, recipient } => of_email(&state, &id, recipient.as_deref()).await?,
        Body { id: None, sender: Some(sender), recipient: Some(recipient) } => {
            let sender = ReversePath::parse(&sender)
                .map_err(|error| Problem::bad_parameter("sender", format!("sender is wrong: {error}.")))?;
            SourceQuestion::new(&sender, &address(&recipient)?)
        }
        _ => {
            return Err(Problem::bad_body(
                "Give sender and recipient, or the id of an e-mail, with or without one of its recipients.",
            ));
        }
    };
    state.control.test_ip_selection(question).await.map(Json).map_err(|error| Problem::conflict(format!("{error}.")))
}

fn address(text: &str) -> Result<Address, Problem> {
    Address::parse(text).map_err(|error| Problem::bad_parameter("recipient", format!("recipient is wrong: {error}.")))
}

/// About the next attempt with an e-mail: to this recipient, or to its first.
async fn of_email(state: &AppState, id: &str, recipient: Option<&str>) -> Result<SourceQuestion, Problem> {
    let id: ObjectId = id.parse().map_err(|_| Problem::bad_parameter("id", "An id is 24 hex digits."))?;
    let Some(detail) = state.store.email(id).await? else { return Err(no_such_email(id)) };
    let recipient = recipient.map(address).transpose()?;
    let delivery = detail
        .deliveries
        .iter()
        .find(|delivery| recipient.as_ref().is_none_or(|recipient| delivery.recipient == recipient.as_str()));
    let Some(delivery) = delivery else {
        return Err(Problem::conflict("The e-mail is delivered to no such recipient, or to nobody elsewhere."));
    };
    Ok(SourceQuestion {
        email_id: Some(id),
        subject: detail.email.subject.clone(),
        size: Some(detail.email.size),
        attempt: delivery.attempts + 1,
        ..SourceQuestion::new(&detail.envelope.reverse_path, &address(&delivery.recipient)?)
    })
}
