//! The outbox as a whole: webhooks that fail, queues that fill, restarts.

use std::io::Write as _;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use url::Url;
use weir_tests::http::{Answer, Endpoint, Request, Unreachable};

use super::*;
use crate::ErrorKind;
use crate::env::{Clock, Env, Location, Storage};
use crate::model::{Digest, Epoch, Lane, Segment};

const NOW_S: i64 = 1_700_000_000;
/// Longer than any test; what ends earlier is not judged by it.
const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(10);

/// A clock that stands still, and on which nobody waits before trying again.
#[derive(Default)]
struct Impatient {
    waits: Mutex<Vec<Duration>>,
}

impl Clock for Impatient {
    fn now_us(&self) -> i64 {
        NOW_S * 1_000_000
    }

    fn back_off(&self, time: Duration) -> BoxFuture<'static, ()> {
        self.waits.lock().unwrap().push(time);
        tokio::task::yield_now().boxed()
    }
}

fn alert(rule: &str, epoch: u64, index: u64) -> Alert {
    let epoch = Epoch::new(epoch).unwrap();
    Alert {
        id: AlertId::of("4f7c", &Lane::single(), rule, epoch, index),
        rule: rule.to_owned(),
        kind: "HIGH_TEMPERATURE".to_owned(),
        severity: "WARNING".to_owned(),
        message: "36.5 °C".to_owned(),
        time: Some("2025-10-05T18:40:10Z".to_owned()),
        epoch,
        row: serde_json::from_str(r#"{"deviceId": "d-1", "temperature": 36.5}"#).unwrap(),
    }
}

fn ids(alerts: &[(u64, u64)]) -> Vec<AlertId> {
    alerts.iter().map(|(epoch, index)| alert("hot", *epoch, *index).id).collect()
}

/// A pipeline's folder, and what it takes from the world.
struct World {
    env: Env,
    clock: Arc<Impatient>,
    storage: Storage,
}

impl World {
    fn new() -> Self {
        let clock = Arc::new(Impatient::default());
        let env = Env { clock: Arc::clone(&clock) as Arc<dyn Clock>, ..Env::system() };
        let folder = Location::Remote(Url::parse("memory://store/checkpoint").unwrap());
        let storage = env.storage(&folder).unwrap();
        Self { env, clock, storage }
    }

    async fn outbox(&self, destinations: Vec<Destination>, bounds: Bounds) -> Outbox {
        Outbox::open(destinations, bounds, &Lane::single(), self.storage.clone(), &self.env).await.unwrap()
    }

    fn webhook(&self, settings: WebhookSettings) -> Destination {
        let notifier = NotifySettings::Webhook(settings).notifier("factory", Arc::clone(&self.env.clock)).unwrap();
        Destination { name: "rule.hot.notify.0".to_owned(), rule: "hot".to_owned(), notifier }
    }

    /// What the pipeline does before it prepares an epoch.
    async fn write(&self, epoch: u64, batch: &Batch) -> (Epoch, Segment) {
        let (epoch, bytes) = (Epoch::new(epoch).unwrap(), batch.encode());
        let segment = Segment {
            name: format!("main/state/notify/{epoch}"),
            through: epoch,
            entries: batch.entries(),
            size_bytes: bytes.len() as u64,
            sha256: Digest::of(&bytes),
        };
        self.storage.put(&segment.name, bytes).await.unwrap();
        (epoch, segment)
    }

    /// An epoch in which the rule `hot` raises so many alerts.
    async fn raise(&self, epoch: u64, alerts: u64) -> (Epoch, Segment, Batch) {
        let mut batch = Batch::new(Bounds::default());
        (0..alerts).for_each(|index| batch.push(&alert("hot", epoch, index)));
        let (epoch, segment) = self.write(epoch, &batch).await;
        (epoch, segment, batch)
    }

    async fn publish(&self, outbox: &Outbox, epoch: u64, alerts: u64) -> (Epoch, Segment) {
        let (epoch, segment, batch) = self.raise(epoch, alerts).await;
        outbox.publish(epoch, &segment, &batch);
        (epoch, segment)
    }
}

/// Keeps what it is sent, two alerts a request; fails while it is told to.
#[derive(Clone, Default)]
struct Recorder {
    sent: Arc<watch::Sender<Vec<AlertId>>>,
    is_down: Arc<AtomicBool>,
}

#[async_trait]
impl Notifier for Recorder {
    fn limits(&self) -> RequestLimits {
        RequestLimits { alerts: 2, bytes: 1 << 20 }
    }

    async fn send(&self, alerts: &[Alert]) -> Result<(), NotSent> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(NotSent::Unavailable { error: Error::unavailable("it is down"), retry_after: None });
        }
        self.sent.send_modify(|sent| sent.extend(alerts.iter().map(|alert| alert.id.clone())));
        Ok(())
    }
}

impl Recorder {
    fn destination(&self, rule: &str) -> Destination {
        Destination { name: format!("rule.{rule}.notify.0"), rule: rule.to_owned(), notifier: Box::new(self.clone()) }
    }

    fn down(&self, is_down: bool) {
        self.is_down.store(is_down, Ordering::SeqCst);
    }

    fn take(&self) -> Vec<AlertId> {
        self.sent.send_replace(Vec::new())
    }
}

fn waiting(outbox: &Outbox) -> Vec<u64> {
    outbox.pending().iter().map(|(epoch, _)| epoch.number()).collect()
}

fn alerts_of(request: &Request) -> Vec<Alert> {
    let body: serde_json::Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(body["pipeline"], "factory");
    serde_json::from_value(body["alerts"].clone()).unwrap()
}

fn hook(endpoint: &Endpoint) -> WebhookSettings {
    WebhookSettings::new(Url::parse(&format!("{}/hooks/T0KEN", endpoint.origin())).unwrap())
}

#[test]
fn the_form_of_an_alert_holds_still() {
    let line = String::from_utf8(alert("hot", 7, 0).line()).unwrap();
    let expected = concat!(
        r#"{"id":"ID","rule":"hot","kind":"HIGH_TEMPERATURE","severity":"WARNING","message":"36.5 °C","#,
        r#""time":"2025-10-05T18:40:10Z","epoch":7,"row":{"deviceId":"d-1","temperature":36.5}}"#,
        "\n",
    );
    let id = &Digest::of(br#"["4f7c","main","hot",7,0]"#).to_string()[..32];
    assert_eq!(line, expected.replace("ID", id));
}

#[test]
fn a_batch_reads_as_it_was_written() {
    let alerts = [alert("hot", 0, 0), Alert { time: None, ..alert("cold", 0, 0) }];
    let mut batch = Batch::new(Bounds::default());
    alerts.iter().for_each(|alert| batch.push(alert));
    let bytes = batch.encode();
    assert_eq!(decode("b", &bytes).unwrap(), alerts);
    let error = decode("b", &bytes[..bytes.len() - 5]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains("`b`"), "{error}");
}

#[test]
fn a_batch_keeps_the_first_alerts_of_each_rule_and_counts_the_rest() {
    let mut batch = Batch::new(Bounds { alerts: 2, bytes: 1 << 20 });
    (0..5).for_each(|index| batch.push(&alert("hot", 0, index)));
    batch.push(&alert("cold", 0, 0));
    assert_eq!((batch.room("hot"), batch.room("cold"), batch.room("mild")), (0, 1, 2));
    batch.leave_out("hot", 4);
    batch.leave_out("mild", 0);
    let loads: Vec<_> = batch.loads().values().map(|load| (load.alerts, load.dropped)).collect();
    assert_eq!((loads, batch.entries()), (vec![(1, 0), (2, 7)], 3));
    let line = alert("hot", 0, 0).line().len() as u64;
    let mut batch = Batch::new(Bounds { alerts: 9, bytes: 2 * line });
    (0..5).for_each(|index| batch.push(&alert("hot", 0, index)));
    assert_eq!(batch.loads()["hot"], Load { alerts: 2, bytes: 2 * line, dropped: 3 });
}

#[tokio::test]
async fn a_webhook_gets_alerts_in_order_and_in_small_requests() {
    let (world, endpoint) = (World::new(), Endpoint::start([]).await);
    let outbox =
        world.outbox(vec![world.webhook(WebhookSettings { batch: 2, ..hook(&endpoint) })], Bounds::default()).await;
    world.publish(&outbox, 0, 3).await;
    world.publish(&outbox, 4, 2).await;
    outbox.finish(LONG).await;
    let requests = endpoint.requests();
    let sent: Vec<Vec<Alert>> = requests.iter().map(alerts_of).collect();
    assert_eq!(
        sent.concat(),
        [alert("hot", 0, 0), alert("hot", 0, 1), alert("hot", 0, 2), alert("hot", 4, 0), alert("hot", 4, 1)]
    );
    for (request, alerts) in requests.iter().zip(&sent) {
        assert!((1..=2).contains(&alerts.len()), "{} alerts in a request", alerts.len());
        assert_eq!(request.target, "POST /hooks/T0KEN");
        assert_eq!(request.header("content-type"), Some("application/json"));
        assert_eq!(request.header("weir-delivery"), Some(alerts[0].id.as_str()));
        assert_eq!(request.header("weir-signature"), None);
    }
    assert!(waiting(&outbox).is_empty());
}

/// Runs one alert against a script, then a second one against 200; says how
/// often the first was sent, how it ended, and how long was waited.
async fn check(script: Vec<Answer>, expected_tries: usize, expected: (u64, u64)) -> Vec<Duration> {
    let (world, endpoint) = (World::new(), Endpoint::start(script.clone()).await);
    let settings = WebhookSettings { timeout: Duration::from_millis(200), ..hook(&endpoint) };
    let outbox = world.outbox(vec![world.webhook(settings)], Bounds::default()).await;
    world.publish(&outbox, 0, 1).await;
    outbox.finish(LONG).await;
    world.publish(&outbox, 1, 1).await;
    outbox.finish(LONG).await;
    let requests = endpoint.requests();
    assert_eq!(requests.len(), expected_tries + 1, "{script:?}");
    let first = alert("hot", 0, 0).id;
    assert!(requests[..expected_tries].iter().all(|request| request.header("weir-delivery") == Some(first.as_str())));
    assert!(requests.iter().all(|request| request.target == "POST /hooks/T0KEN"), "a redirect was followed");
    let stats = outbox.stats().remove(0);
    assert_eq!((stats.delivered, stats.refused), expected, "{script:?}");
    assert_eq!((stats.dropped, stats.waiting), (0, 0));
    world.clock.waits.lock().unwrap().clone()
}

#[tokio::test]
async fn what_passes_is_tried_until_it_works_and_what_is_refused_is_skipped() {
    use Answer::{Close, Hang, Status, With};
    check(vec![], 1, (2, 0)).await;
    check(vec![Status(204)], 1, (2, 0)).await;
    check(vec![Status(500)], 2, (2, 0)).await;
    check(vec![Status(503); 20], 21, (2, 0)).await;
    check(vec![Status(408), Status(425), Status(429), Status(599)], 5, (2, 0)).await;
    check(vec![Close, Close], 3, (2, 0)).await;
    check(vec![Hang], 2, (2, 0)).await;
    check(vec![Status(400)], 2, (2, 0)).await;
    check(vec![Status(400); 5], 5, (1, 1)).await;
    check(vec![With(302, "location", "/elsewhere".to_owned()); 5], 5, (1, 1)).await;
    let waits =
        check(vec![With(429, "retry-after", "7".to_owned()), With(503, "retry-after", "9".to_owned())], 3, (2, 0))
            .await;
    assert_eq!(waits, [Duration::from_secs(7), Duration::from_secs(9)]);
}

#[tokio::test]
async fn a_signature_is_the_hmac_of_timestamp_and_body() {
    for secret in ["s3cret".to_owned(), "longer than a block ".repeat(9)] {
        let (world, endpoint) = (World::new(), Endpoint::start([]).await);
        let settings = WebhookSettings { secret: Some(secret.clone()), ..hook(&endpoint) };
        let outbox = world.outbox(vec![world.webhook(settings)], Bounds::default()).await;
        world.publish(&outbox, 0, 2).await;
        let request = endpoint.wait_for(1).await.remove(0);
        assert_eq!(request.header("weir-timestamp"), Some(NOW_S.to_string().as_str()));
        // RFC 2104 by hand.
        let mut key = [0; 64];
        let hashed = Sha256::digest(secret.as_bytes());
        let short = if secret.len() > key.len() { &hashed[..] } else { secret.as_bytes() };
        key[..short.len()].copy_from_slice(short);
        let signed = [NOW_S.to_string().as_bytes(), b".", &request.body].concat();
        let inner = Sha256::digest([&key.map(|byte| byte ^ 0x36)[..], &signed].concat());
        let outer = Sha256::digest([&key.map(|byte| byte ^ 0x5c)[..], &inner[..]].concat());
        let hex: String = outer.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(request.header("weir-signature"), Some(format!("v1={hex}").as_str()));
    }
}

#[tokio::test]
async fn a_request_holds_a_mebibyte_at_most_and_a_larger_alert_goes_alone() {
    let (world, endpoint) = (World::new(), Endpoint::start([]).await);
    let outbox = world.outbox(vec![world.webhook(hook(&endpoint))], Bounds::default()).await;
    let mut batch = Batch::new(Bounds::default());
    for (index, size) in [300, 300, 300, 300, 2000, 1].into_iter().enumerate() {
        batch.push(&Alert { message: "x".repeat(size << 10), ..alert("hot", 0, index as u64) });
    }
    let (epoch, segment) = world.write(0, &batch).await;
    outbox.publish(epoch, &segment, &batch);
    outbox.finish(LONG).await;
    let requests = endpoint.requests();
    let counts: Vec<usize> = requests.iter().map(|request| alerts_of(request).len()).collect();
    assert_eq!(counts, [3, 1, 1, 1]);
    assert!(requests[0].body.len() <= 1 << 20);
}

#[tokio::test]
async fn a_dead_webhook_holds_up_neither_publish_nor_finish_nor_others() {
    let (world, recorder, nowhere) = (World::new(), Recorder::default(), Unreachable::new());
    let webhook = world.webhook(WebhookSettings::new(Url::parse(nowhere.origin()).unwrap()));
    let dead = Destination { name: "rule.hot.notify.1".to_owned(), ..webhook };
    let outbox = world.outbox(vec![dead, recorder.destination("hot")], Bounds::default()).await;
    for epoch in 0..20 {
        world.publish(&outbox, epoch, 1).await;
    }
    recorder.sent.subscribe().wait_for(|sent| sent.len() == 20).await.unwrap();
    let mut failed = 0;
    while failed == 0 {
        outbox.finish(SHORT).await;
        failed += outbox.stats()[0].failed_attempts;
    }
    let stats = outbox.stats().remove(0);
    assert_eq!((stats.delivered, stats.waiting), (0, 20));
    assert_eq!(waiting(&outbox), (0..20).collect::<Vec<_>>());
}

#[tokio::test]
async fn a_full_queue_drops_the_oldest_and_counts_them() {
    let (world, recorder) = (World::new(), Recorder::default());
    recorder.down(true);
    let outbox = world.outbox(vec![recorder.destination("hot")], Bounds { alerts: 5, bytes: 1 << 20 }).await;
    for epoch in 0..4 {
        world.publish(&outbox, epoch, 2).await;
        outbox.finish(SHORT).await;
    }
    assert_eq!(waiting(&outbox), [2, 3]);
    recorder.down(false);
    outbox.finish(LONG).await;
    assert_eq!(recorder.take(), ids(&[(2, 0), (2, 1), (3, 0), (3, 1)]));
    let stats = outbox.stats().remove(0);
    assert_eq!((stats.delivered, stats.dropped, stats.refused, stats.waiting), (4, 4, 0, 0));
    assert!(stats.failed_attempts > 0);
}

#[tokio::test]
async fn a_restart_sends_what_is_left_and_not_what_the_cursor_covers() {
    let (world, recorder) = (World::new(), Recorder::default());
    let outbox = world.outbox(vec![recorder.destination("hot")], Bounds::default()).await;
    let first = world.publish(&outbox, 0, 3).await;
    outbox.finish(LONG).await;
    recorder.down(true);
    let second = world.publish(&outbox, 3, 3).await;
    outbox.finish(SHORT).await;
    assert_eq!(outbox.pending(), std::slice::from_ref(&second));
    drop(outbox);
    assert_eq!(recorder.take(), ids(&[(0, 0), (0, 1), (0, 2)]));

    recorder.down(false);
    let outbox = world.outbox(vec![recorder.destination("hot")], Bounds::default()).await;
    outbox.restore(&[first.clone(), second.clone()]).await.unwrap();
    outbox.finish(LONG).await;
    assert_eq!(recorder.take(), ids(&[(3, 0), (3, 1), (3, 2)]));
    // What a recovery publishes again is known.
    world.publish(&outbox, 3, 3).await;
    assert!(waiting(&outbox).is_empty());
    drop(outbox);

    // Within a batch, too: here the cursor stands behind its first request.
    let cursor = "main/notify/rule.hot.notify.0.json";
    assert_eq!(&world.storage.get(cursor).await.unwrap().unwrap()[..], br#"{"epoch":3,"alert":3}"#);
    let check = async |cursor_says: &'static [u8], expected: &[(u64, u64)]| {
        world.storage.put(cursor, cursor_says.into()).await.unwrap();
        let outbox = world.outbox(vec![recorder.destination("hot")], Bounds::default()).await;
        outbox.restore(&[first.clone(), second.clone()]).await.unwrap();
        outbox.finish(LONG).await;
        assert_eq!(recorder.take(), ids(expected), "{}", String::from_utf8_lossy(cursor_says));
    };
    check(br#"{"epoch":3,"alert":2}"#, &[(3, 2)]).await;
    check(br#"{"epoch":2,"alert":0}"#, &[(3, 0), (3, 1), (3, 2)]).await;
    // Sent, but dead before the cursor was written; or the cursor is torn.
    check(br#"{"epoch":0,"alert":2}"#, &[(0, 2), (3, 0), (3, 1), (3, 2)]).await;
    check(b"", &[(0, 0), (0, 1), (0, 2), (3, 0), (3, 1), (3, 2)]).await;
}

#[tokio::test]
async fn each_destination_gets_the_alerts_of_its_rule() {
    let world = World::new();
    let (hot, cold, quiet) = (Recorder::default(), Recorder::default(), Recorder::default());
    cold.down(true);
    let destinations = || vec![hot.destination("hot"), cold.destination("cold"), quiet.destination("quiet")];
    let outbox = world.outbox(destinations(), Bounds::default()).await;
    let mut batch = Batch::new(Bounds::default());
    [alert("cold", 0, 0), alert("hot", 0, 0), alert("cold", 0, 1)].iter().for_each(|alert| batch.push(alert));
    let written = world.write(0, &batch).await;
    outbox.publish(written.0, &written.1, &batch);
    hot.sent.subscribe().wait_for(|sent| sent.len() == 1).await.unwrap();
    assert_eq!(waiting(&outbox), [0], "one destination waits for it");
    let waits: Vec<u64> = outbox.stats().iter().map(|stats| stats.waiting).collect();
    assert_eq!(waits, [0, 2, 0]);
    drop(outbox);
    cold.down(false);
    let outbox = world.outbox(destinations(), Bounds::default()).await;
    outbox.restore(&[written]).await.unwrap();
    outbox.finish(LONG).await;
    assert_eq!(cold.take(), [alert("cold", 0, 0).id, alert("cold", 0, 1).id]);
    assert!(quiet.take().is_empty());
}

#[tokio::test]
async fn a_damaged_batch_is_skipped_in_a_run_and_named_at_a_start() {
    let (world, recorder) = (World::new(), Recorder::default());
    let outbox = world.outbox(vec![recorder.destination("hot")], Bounds::default()).await;
    let (epoch, segment, batch) = world.raise(0, 3).await;
    world.storage.put(&segment.name, "damaged".into()).await.unwrap();
    outbox.publish(epoch, &segment, &batch);
    world.publish(&outbox, 1, 1).await;
    outbox.finish(LONG).await;
    assert_eq!(recorder.take(), ids(&[(1, 0)]));
    let stats = outbox.stats().remove(0);
    assert_eq!((stats.delivered, stats.refused), (1, 3));
    drop(outbox);

    world.storage.delete("main/notify/rule.hot.notify.0.json").await.unwrap();
    let outbox = world.outbox(vec![recorder.destination("hot")], Bounds::default()).await;
    let error = outbox.restore(&[(epoch, segment.clone())]).await.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Corrupt);
    assert!(error.to_string().contains(&segment.name), "{error}");
}

#[tokio::test]
async fn a_file_gets_a_line_for_each_alert_behind_what_is_there() {
    let (world, folder) = (World::new(), tempfile::tempdir().unwrap());
    let path = folder.path().join("new/alerts.jsonl");
    let settings = NotifySettings::File { path: path.clone() };
    let notifier = settings.notifier("factory", Arc::clone(&world.env.clock)).unwrap();
    notifier.send(&[alert("hot", 0, 0), alert("hot", 0, 1)]).await.unwrap();
    // Whoever wrote last died on the way.
    std::fs::OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"id\":").unwrap();
    notifier.send(&[alert("hot", 0, 2)]).await.unwrap();
    let text = std::fs::read_to_string(&path).unwrap();
    let read: Vec<Option<Alert>> = text.lines().map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(read, [Some(alert("hot", 0, 0)), Some(alert("hot", 0, 1)), None, Some(alert("hot", 0, 2))]);

    let folder = NotifySettings::File { path: folder.path().to_owned() };
    let failed = folder.notifier("factory", Arc::clone(&world.env.clock)).unwrap().send(&[alert("hot", 0, 0)]).await;
    assert!(matches!(failed, Err(NotSent::Unavailable { .. })), "{failed:?}");
}

/// What was logged.
#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn neither_secrets_nor_the_path_of_a_url_get_into_logs_and_errors() {
    let log = Log::default();
    let writer = log.clone();
    let subscriber = tracing_subscriber::fmt().with_writer(move || writer.clone()).with_ansi(false).finish();
    // To one dispatcher alone tracing would not ask it, but that of whichever thread
    // first comes by, which may have none.
    let _second = tracing::Dispatch::new(tracing_subscriber::registry());
    let _logging = tracing::subscriber::set_default(subscriber);

    let answers = [vec![Answer::Status(400); 5], vec![Answer::Close, Answer::Hang, Answer::Status(500)]].concat();
    let (world, endpoint, nowhere) = (World::new(), Endpoint::start(answers).await, Unreachable::new());
    for (origin, deadline) in [(endpoint.origin(), LONG), (nowhere.origin(), SHORT)] {
        let mut url = Url::parse(origin).unwrap();
        url.set_path("/hooks/S3CRET-path");
        url.set_query(Some("key=S3CRET-query"));
        url.set_username("S3CRET-user").unwrap();
        url.set_password(Some("S3CRET-password")).unwrap();
        let settings = WebhookSettings {
            secret: Some("S3CRET-key".to_owned()),
            timeout: Duration::from_millis(200),
            ..WebhookSettings::new(url)
        };
        writeln!(log.clone(), "{settings:?} {:?}", NotifySettings::Webhook(settings.clone())).unwrap();
        let outbox = world.outbox(vec![world.webhook(settings)], Bounds::default()).await;
        for epoch in 0..2 {
            world.publish(&outbox, epoch, 1).await;
            outbox.finish(deadline).await;
        }
        while outbox.stats()[0].failed_attempts == 0 {
            outbox.finish(SHORT).await;
        }
        drop(outbox);
        world.storage.delete("main/notify/rule.hot.notify.0.json").await.unwrap();
    }
    let text = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    for origin in [endpoint.origin(), nowhere.origin()] {
        let failed = format!("attempts have failed: cannot reach the webhook {origin}");
        assert!(text.contains(&failed), "{failed} is not in {text}");
    }
    assert!(text.contains("refuses"), "{text}");
    assert!(!text.contains("S3CRET"), "{text}");
}
