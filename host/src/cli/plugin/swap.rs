//! `weir plugin swap`, `rollback`, `versions`: the plugins of a pipeline that runs.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::time::Duration;

use serde_json::Value;

use crate::model::Digest;
use crate::pipeline::SwapEvent;
use crate::plugin::ComponentSource;
use crate::{Error, Result};

/// Time after which it is said what is waited for.
const PATIENCE: Duration = Duration::from_secs(3);
/// Time to reach a pipeline that runs.
const CONNECT_TIME: Duration = Duration::from_secs(5);

/// Let another component have a step of a pipeline that runs.
///
/// It is compiled, checked against the steps and tables around it, given the state of
/// the old one, tried if that is asked for, and takes over between two epochs. If
/// anything is wrong with it, the reason is told and the old one goes on.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir plugin swap pipeline.toml rule.hot hot-2.wasm
  weir plugin swap pipeline.toml parser parser.wasm --shadow 3 --probation 20
  weir plugin swap pipeline.toml window.summary builtin:statistics")]
pub(super) struct SwapArgs {
    #[command(flatten)]
    running: Running,
    /// The step: `parser`, `transform.NAME`, `window.NAME` or `rule.NAME`.
    step: String,
    /// The component: a file, or `builtin:NAME`.
    component: String,
    /// Run it beside the old one for so many epochs first, and tell the differences.
    #[arg(long, value_name = "EPOCHS")]
    shadow: Option<u32>,
    /// Go back to the old one if it fails within so many epochs.
    #[arg(long, value_name = "EPOCHS")]
    probation: Option<u32>,
}

/// Go back to an earlier version of a plugin of a pipeline that runs.
///
/// Without `--to` to the one that was replaced last and did not fail; where a version
/// is on trial, that ends, and what runs goes on. The configuration stays as it is.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir plugin rollback pipeline.toml rule.hot
  weir plugin rollback pipeline.toml rule.hot --to 5e689e2b01672bf33996e75d5e372ff60c536ce1599a1458e867cd8f4bef5160")]
pub(super) struct RollbackArgs {
    #[command(flatten)]
    running: Running,
    /// The step: `parser`, `transform.NAME`, `window.NAME` or `rule.NAME`.
    step: String,
    /// The digest of the version.
    #[arg(long, value_name = "SHA256")]
    to: Option<Digest>,
}

/// Show which versions the plugins of a pipeline that runs have, and had.
#[derive(Debug, clap::Args)]
#[command(after_long_help = "\
Examples:
  weir plugin versions pipeline.toml")]
pub(super) struct VersionsArgs {
    #[command(flatten)]
    running: Running,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// A pipeline that runs.
#[derive(Debug, clap::Args)]
struct Running {
    /// The pipeline file; its `[serve]` says where the pipeline listens.
    #[arg(value_name = "PIPELINE")]
    pipeline: PathBuf,
    /// Where it listens, if not where the file says, for example
    /// `http://127.0.0.1:7878`.
    #[arg(long)]
    url: Option<String>,
}

pub(super) fn swap(args: &SwapArgs) -> Result<()> {
    let source = match args.component.strip_prefix("builtin:") {
        Some(name) => ComponentSource::Builtin(name.to_owned()),
        None => ComponentSource::File(args.component.clone().into()),
    };
    let component = source.read()?;
    let mut query = vec![("sha256", Digest::of(&component).to_string())];
    query.extend(args.shadow.map(|epochs| ("shadow", epochs.to_string())));
    query.extend(args.probation.map(|epochs| ("probation", epochs.to_string())));
    let to = args.running.find()?;
    let events = super::super::block_on(to.post(&format!("plugins/{}/swap", args.step), &query, component))?;
    tell(events)
}

pub(super) fn rollback(args: &RollbackArgs) -> Result<()> {
    let query: Vec<_> = args.to.iter().map(|to| ("to", to.to_string())).collect();
    let to = args.running.find()?;
    let path = format!("plugins/{}/rollback", args.step);
    tell(super::super::block_on(to.post(&path, &query, bytes::Bytes::new()))?)
}

pub(super) fn versions(args: &VersionsArgs) -> Result<()> {
    let answer = super::super::block_on(args.running.find()?.get("plugins"))?;
    if args.json {
        return super::super::print(&answer.to_string());
    }
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let short = |value: &Value| text(value).chars().take(12).collect::<String>();
    let mut lines = vec![format!("{:<24} {:<24} {:<12} {:>12}  {}", "step", "plugin", "digest", "since epoch", "")];
    for plugin in answer["plugins"].as_array().into_iter().flatten() {
        let named = |version: &Value| format!("{} {}", text(&version["name"]), text(&version["version"]));
        let mut notes = Vec::new();
        if let Some(left) = plugin["probationLeft"].as_u64() {
            notes.push(format!("on probation for {left} more epochs"));
        }
        if let Some(left) = plugin["trial"]["left"].as_u64() {
            let (other, digest) = (named(&plugin["trial"]), short(&plugin["trial"]["sha256"]));
            notes.push(format!("{other} ({digest}) is on trial for {left} more epochs"));
        }
        if plugin["inPlaceOf"].is_string() {
            notes.push(format!("in place of {}, which the file names", short(&plugin["inPlaceOf"])));
        }
        lines.push(format!(
            "{:<24} {:<24} {:<12} {:>12}  {}",
            text(&plugin["step"]),
            named(plugin),
            short(&plugin["sha256"]),
            plugin["sinceEpoch"],
            notes.join("; ")
        ));
        for replaced in plugin["replaced"].as_array().into_iter().flatten() {
            let until = format!("until {}", replaced["until"]);
            let note = if replaced["failed"] == true { "rolled back" } else { "" };
            lines.push(format!(
                "{:<24} {:<24} {:<12} {until:>12}  {note}",
                "  replaced",
                named(replaced),
                short(&replaced["sha256"])
            ));
        }
    }
    super::super::print(lines.join("\n").trim_end())
}

fn tell(events: Value) -> Result<()> {
    let other = |error| Error::unavailable("the pipeline answers as another version of weir would").because(error);
    let events: Vec<SwapEvent> = serde_json::from_value(events).map_err(other)?;
    let mut lines = Vec::new();
    for event in &events {
        let mut line = event.line();
        if let (Some(ready), Some(pause)) = (event.ready_ms, event.pause_us) {
            line.push_str(&format!("; made ready in {ready} ms, the stream stood still for {pause} µs"));
        }
        lines.push(line);
        if let Some(trial) = &event.trial {
            lines.push(format!("on trial: {}", serde_json::to_string_pretty(trial).unwrap_or_default()));
        }
    }
    super::super::print(&lines.join("\n"))
}

/// Where a pipeline listens, and what it wants to be told.
struct Reached {
    url: String,
    token: Option<String>,
    client: reqwest::Client,
}

impl Running {
    fn find(&self) -> Result<Reached> {
        let (pipeline, _) = super::super::load(&self.pipeline)?;
        let serve = pipeline.serve;
        let url = match (&self.url, &serve) {
            (Some(url), _) => url.trim_end_matches('/').to_owned(),
            (None, Some(serve)) => format!("http://{}", reachable(serve.listen)),
            (None, None) => return Err(no_serve(&self.pipeline)),
        };
        let client = reqwest::Client::builder().connect_timeout(CONNECT_TIME).no_proxy().build();
        let client = client.map_err(|error| Error::bug("cannot make an HTTP client").because(error))?;
        Ok(Reached { url, token: serve.and_then(|serve| serve.token), client })
    }
}

fn no_serve(pipeline: &Path) -> Error {
    Error::config(format!(
        "{} has no section `[serve]`, so nobody can talk to the pipeline: add one with a `token` and start it again",
        pipeline.display()
    ))
}

/// Who listens everywhere listens here, too.
fn reachable(mut listen: SocketAddr) -> SocketAddr {
    if listen.ip().is_unspecified() {
        listen.set_ip(match listen.ip() {
            IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
        });
    }
    listen
}

impl Reached {
    async fn post(&self, path: &str, query: &[(&str, String)], body: bytes::Bytes) -> Result<Value> {
        let mut request = self.client.post(format!("{}/{path}", self.url)).query(query).body(body);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        self.answer(request).await
    }

    async fn get(&self, path: &str) -> Result<Value> {
        self.answer(self.client.get(format!("{}/{path}", self.url))).await
    }

    async fn answer(&self, request: reqwest::RequestBuilder) -> Result<Value> {
        let unheard = |error: reqwest::Error| {
            Error::unavailable(format!("nobody answers at {}: is the pipeline running?", self.url)).because(error)
        };
        let mut answer = pin!(request.send());
        let answer = match tokio::time::timeout(PATIENCE, &mut answer).await {
            Ok(answer) => answer,
            Err(_) => {
                tracing::info!("it is made ready, on trial, or waits for another: `weir plugin versions` tells");
                answer.await
            }
        };
        let answer = answer.map_err(unheard)?;
        let status = answer.status();
        let text = answer.text().await.map_err(unheard)?;
        let said: Value = serde_json::from_str(&text).unwrap_or(Value::Null);
        if status.is_success() {
            return Ok(said);
        }
        let reason = said["error"].as_str().unwrap_or(text.as_str()).to_owned();
        Err(match status {
            reqwest::StatusCode::SERVICE_UNAVAILABLE => Error::unavailable(reason),
            _ => Error::config(reason),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_listens_everywhere_is_reached_here() {
        for (listen, expected) in [
            ("0.0.0.0:1", "127.0.0.1:1"),
            ("[::]:2", "[::1]:2"),
            ("127.0.0.1:3", "127.0.0.1:3"),
            ("10.1.2.3:4", "10.1.2.3:4"),
        ] {
            assert_eq!(reachable(listen.parse().unwrap()).to_string(), expected);
        }
    }
}
