//! Paths → answers.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::Deserialize;
use serde_json::{Value, json};

use super::Board;
use super::board::MOST;
use crate::config::{Pipeline, PipelineFile};
use crate::model::Digest;
use crate::pipeline::{Ask, Swap, SwapEvent, SwapSender};
use crate::plugin::ComponentSource;
use crate::{Error, ErrorKind, Result};

/// The most that a body may hold: as much as a component.
pub const MAX_BODY_BYTES: usize = 64 << 20;
/// The time that a client may take for a body.
const BODY_TIME: Duration = Duration::from_mins(1);
/// Progress records that are told if nobody says how many.
const RECORDS: usize = 10;

/// Reads the pipeline file again.
pub type Reload = Arc<dyn Fn() -> Pin<Box<dyn Future<Output = Result<(Pipeline, PipelineFile)>> + Send>> + Send + Sync>;

/// What there is to be asked and told.
#[derive(Clone)]
pub struct Site {
    /// The name of the pipeline.
    pub name: String,
    /// What the run told.
    pub board: Board,
    /// The way to the run.
    pub run: SwapSender,
    /// What whoever changes plugins must know; nobody may, without it.
    pub token: Option<Arc<str>>,
    /// Reads the pipeline file again.
    pub reload: Reload,
}

impl Site {
    pub(super) fn router(self) -> Router {
        let changing = Router::new()
            .route("/plugins/{step}/swap", post(swap))
            .route("/plugins/{step}/rollback", post(roll_back))
            .route("/reload", post(reload))
            .layer(middleware::from_fn_with_state(self.clone(), with_token));
        Router::new()
            .route("/healthz", get(async || "ok\n"))
            .route("/readyz", get(is_ready))
            .route("/progress", get(progress))
            .route("/plugins", get(plugins))
            .route("/metrics", get(metrics))
            .merge(changing)
            .fallback(async || {
                problem(StatusCode::NOT_FOUND, "there is nothing here: see the documentation of `[serve]`")
            })
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .with_state(self)
    }
}

fn problem(status: StatusCode, message: &str) -> Response {
    (status, Json(json!({ "error": message }))).into_response()
}

fn refusal(error: &Error) -> Response {
    let status = match error.kind() {
        ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        ErrorKind::Bug => StatusCode::INTERNAL_SERVER_ERROR,
        ErrorKind::Config | ErrorKind::Data | ErrorKind::Plugin | ErrorKind::Fenced | ErrorKind::Corrupt => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
    };
    problem(status, &error.to_string())
}

/// Let only those change something who know the token.
async fn with_token(State(site): State<Site>, request: Request, next: Next) -> Response {
    let Some(token) = &site.token else {
        return problem(StatusCode::FORBIDDEN, "nothing can be changed here: `[serve]` has no `token`");
    };
    let said = request.headers().get(header::AUTHORIZATION).and_then(|value| value.to_str().ok());
    let said = said.and_then(|value| value.split_once(' '));
    let said = said.filter(|(scheme, _)| scheme.eq_ignore_ascii_case("Bearer")).map(|(_, token)| token);
    // Digests take as long to compare however much of a guess is right.
    if said.is_some_and(|said| Digest::of(said.trim().as_bytes()) == Digest::of(token.as_bytes())) {
        return next.run(request).await;
    }
    let mut answer = problem(StatusCode::UNAUTHORIZED, "say `Authorization: Bearer TOKEN` with the token of `[serve]`");
    answer.headers_mut().insert(header::WWW_AUTHENTICATE, header::HeaderValue::from_static("Bearer"));
    answer
}

async fn is_ready(State(site): State<Site>) -> Response {
    match site.run.standing().is_ready {
        true => "ready\n".into_response(),
        false => problem(StatusCode::SERVICE_UNAVAILABLE, "the pipeline has not recovered yet"),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Last {
    last: Option<usize>,
}

async fn progress(State(site): State<Site>, Query(Last { last }): Query<Last>) -> Json<Value> {
    Json(json!(site.board.last(last.unwrap_or(RECORDS).min(MOST))))
}

async fn plugins(State(site): State<Site>) -> Json<Value> {
    let standing = site.run.standing();
    Json(json!({ "pipeline": site.name, "nextEpoch": standing.next_epoch, "plugins": standing.plugins }))
}

async fn metrics(State(site): State<Site>) -> Response {
    match site.board.metrics().text(&site.run.standing()) {
        Ok(text) => {
            let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
            ([(header::CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => problem(StatusCode::INTERNAL_SERVER_ERROR, &error.to_string()),
    }
}

/// How a version takes over.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct How {
    sha256: Option<String>,
    shadow: Option<u32>,
    probation: Option<u32>,
}

async fn swap(
    State(site): State<Site>,
    Path(step): Path<String>,
    Query(How { sha256, shadow, probation }): Query<How>,
    headers: HeaderMap,
    body: Body,
) -> Response {
    let sha256 = match digest(sha256) {
        Ok(sha256) => sha256,
        Err(wrong) => return problem(StatusCode::BAD_REQUEST, &wrong),
    };
    let announced = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let too_large =
        || problem(StatusCode::PAYLOAD_TOO_LARGE, &format!("a component has at most {MAX_BODY_BYTES} bytes"));
    if announced.is_some_and(|bytes| bytes > MAX_BODY_BYTES) {
        return too_large();
    }
    let component = match tokio::time::timeout(BODY_TIME, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(component)) => component,
        Ok(Err(_)) => return too_large(),
        Err(_) => return problem(StatusCode::REQUEST_TIMEOUT, "the component took too long to come"),
    };
    let component = ComponentSource::Bytes("that was sent".to_owned(), component);
    let swap = Swap { step, component, sha256, shadow, probation, is_named: false };
    told(site.run.ask(Ask::Swap(swap)).await)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    to: Option<String>,
}

async fn roll_back(State(site): State<Site>, Path(step): Path<String>, Query(Which { to }): Query<Which>) -> Response {
    match digest(to) {
        Ok(to) => told(site.run.ask(Ask::RollBack { step, to }).await),
        Err(wrong) => problem(StatusCode::BAD_REQUEST, &wrong),
    }
}

async fn reload(State(site): State<Site>) -> Response {
    match (site.reload)().await {
        Ok(reading) => told(site.run.ask(Ask::Reload(Box::new(reading))).await),
        Err(error) => refusal(&error),
    }
}

fn digest(text: Option<String>) -> std::result::Result<Option<Digest>, String> {
    text.map(|text| text.parse()).transpose()
}

fn told(result: Result<Vec<SwapEvent>>) -> Response {
    match result {
        Ok(events) => Json(json!(events)).into_response(),
        Err(error) => refusal(&error),
    }
}
