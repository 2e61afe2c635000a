//! Who is notified: entries, and what is said about wrong ones.

use super::*;

const RULE: &str = r#"[rule.hot]
plugin = "builtin:statistics"
table = { path = "data/alerts" }
notify = "#;

/// What is said about a rule with these entries; `notify` is on line 30.
fn said_of(notify: &str) -> String {
    let last = "properties = { \"delta.appendOnly\" = \"true\" }\n";
    said(&[(last, &format!("{last}{RULE}{notify}\n"))])
}

#[track_caller]
fn check_notify(notify: &str, expected: &[&str]) {
    let said = said_of(notify);
    assert_eq!(said.lines().collect::<Vec<_>>(), expected, "{notify}");
}

#[test]
fn entries_give_whom_to_notify() {
    let notify = r#"[
        { webhook = "https://hooks.example.com/T0KEN", secret = "${CANARY}", batch = 7, timeout = "3s" },
        { webhook = "http://localhost:8080" }, { file = "alerts/hot.jsonl" }, { stdout = true },
    ]"#;
    let (pipeline, file) = parsed(&format!("{VALID}{RULE}{notify}")).unwrap_or_else(|problems| panic!("{problems}"));
    let rule = &pipeline.rules[0];
    let webhook = |url: &str, secret: Option<&str>, batch, seconds| {
        let timeout = std::time::Duration::from_secs(seconds);
        let secret = secret.map(str::to_owned);
        NotifyConfig::Webhook(WebhookConfig { url: url.parse().expect("a URL"), secret, batch, timeout })
    };
    let expected = [
        webhook("https://hooks.example.com/T0KEN", Some("canary-5f1d"), 7, 3),
        webhook("http://localhost:8080", None, 100, 10),
        NotifyConfig::File("/etc/weir/alerts/hot.jsonl".into()),
        NotifyConfig::Stdout,
    ];
    assert_eq!(rule.notify, expected);
    let shown = format!("{pipeline:?} {file:?}");
    assert!(!shown.contains("T0KEN") && !shown.contains("5f1d"), "{shown}");
    let (pipeline, _) = parsed(&format!("{VALID}{RULE}[]")).unwrap_or_else(|problems| panic!("{problems}"));
    assert_eq!(pipeline.rules[0].notify, []);
}

#[test]
fn an_entry_says_one_place_to_notify() {
    check_notify(
        r#"[{}, { file = "a", stdout = true }, { stdout = false }, { webhok = "https://x/T0KEN" }, { stdout = "yes" }]"#,
        &[
            "30: rule.hot.notify.0: it is not said where to notify = add one of `webhook = \"https://…\"`, `event_hub = \"alerts\"`, `file = \"alerts.jsonl\"`, `stdout = true`",
            "30: rule.hot.notify.1.stdout: an entry with `file` has no `stdout` = give each place an entry of its own: `notify = [{ … }, { … }]`",
            "30: rule.hot.notify.2.stdout: an entry that notifies nobody = write `stdout = true`, or leave the entry out",
            "30: rule.hot.notify.3.webhok: unknown key `webhok` in [rule.hot.notify.3] = did you mean `webhook`? allowed here: `webhook`, `secret`, `event_hub`, `connection_string`, `namespace`, `credential`, `client_id`, `transport`, `endpoint`, `partition_key`, `batch`, `timeout`, `file`, `stdout`",
            "30: rule.hot.notify.4.stdout: expected a boolean, found a string",
        ],
    );
    check_notify(
        r#"[{ stdout = true, secret = "T0KEN", batch = 1, timeout = "1s" }, { stdout = true }]"#,
        &[
            "30: rule.hot.notify.0.secret: only a webhook has `secret` = leave it out",
            "30: rule.hot.notify.0.batch: only a webhook or an event hub has `batch` = leave it out",
            "30: rule.hot.notify.0.timeout: only a webhook or an event hub has `timeout` = leave it out",
            "30: rule.hot.notify.1: the same place is notified twice = keep one of them",
        ],
    );
}

#[test]
fn wrong_webhooks_are_told_without_their_urls() {
    let url = "30: rule.hot.notify.0.webhook: the webhook is not a URL of the scheme http or https = write a URL with its scheme: \"https://example.com/hooks/alerts\"";
    for text in ["ftp://x/T0KEN", "x.com/T0KEN", "https://", "unix:/T0KEN", "${CANARY}"] {
        check_notify(&format!("[{{ webhook = \"{text}\" }}]"), &[url]);
    }
    check_notify(
        r#"[{ webhook = "https://x/T0KEN", secret = "${EMPTY}", batch = 0, timeout = "0s" }]"#,
        &[
            "30: rule.hot.notify.0.secret: the secret is empty = give it a long random text, or leave it out to send without signatures",
            "30: rule.hot.notify.0.batch: 0 is out of range = allowed: from 1 to 10000",
            "30: rule.hot.notify.0.timeout: `0s` is not a duration = it must be longer than zero",
        ],
    );
    let twice = r#"[{ webhook = "https://x/T0KEN" }, { webhook = "https://x/T0KEN", batch = 1 }]"#;
    check_notify(twice, &["30: rule.hot.notify.1: the same place is notified twice = keep one of them"]);
}

#[test]
fn a_file_of_alerts_is_a_local_file_outside_of_what_weir_has_for_itself() {
    let local = "alerts can only be appended to a file on the local disk = write the path of a file, such as \"data/alerts.jsonl\"";
    for text in ["https://x/T0KEN", "az://lake/T0KEN", "data/"] {
        check_notify(&format!("[{{ file = \"{text}\" }}]"), &[&format!("30: rule.hot.notify.0.file: {local}")]);
    }
    let lies = |what: &str| {
        format!(
            "30: rule.hot.notify.0.file: the file of alerts lies in the folder of {what} = move it into a folder of its own"
        )
    };
    check_notify(r#"[{ file = "input/alerts.jsonl" }]"#, &[&lies("the source")]);
    check_notify(r#"[{ file = "data/checkpoint/alerts.jsonl" }]"#, &[&lies("the checkpoint")]);
    check_notify(r#"[{ file = "data/alerts/alerts.jsonl" }]"#, &[&lies("the table rule.hot")]);
}
