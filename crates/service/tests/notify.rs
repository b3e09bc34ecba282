//! Messages arrive: through real servers on loopback, with certificates of our own, and not through broken ones.

mod receivers;

use receivers::*;
use serde_json::Value;
use service::catalog::RunId;
use service::notify::healthchecks::{self, Event};
use service::notify::*;
use std::collections::BTreeMap;
use std::time::Duration;
use zeroize::Zeroizing;

fn post(certificate: Option<&Certificate>) -> Post {
    Post {
        extra_roots_pem: certificate.map(|c| c.pem.clone().into_bytes()),
        timeout: Duration::from_secs(10),
        attempts: 3,
        wait: Duration::from_millis(5),
    }
}

fn message() -> Message {
    Message {
        kind: "stale".into(),
        subject: "home@nas".into(),
        title: "home: nas: the newest good copy is 3 d old".into(),
        text: "Größer als erlaubt.".into(),
        fix: "lifeboat run daily".into(),
        priority: Priority::High,
        machine: "atlas".into(),
        time: 1_800_000_000,
        html: None,
    }
}

fn smtp(scheme: &str, port: u16, password: &str) -> Channel {
    Channel::Smtp(Smtp {
        url: format!("{scheme}://me%40example.com@localhost:{port}"),
        password: Some(Zeroizing::new(password.into())),
        from: "lifeboat@atlas.example.com".into(),
        to: vec!["ops@example.com".into(), "Boss <boss@example.com>".into()],
    })
}

#[test]
fn mail_arrives_with_implicit_tls_and_with_starttls() {
    let certificate = Certificate::new();
    for (scheme, speech) in [("smtps", Speech::Implicit), ("smtp", Speech::StartTls)] {
        let server = MailServer::start(&certificate, speech);
        send(&smtp(scheme, server.port, "sesame"), &message(), &post(Some(&certificate))).unwrap();
        let [mail] = &server.mails()[..] else { panic!("one mail") };
        assert!(mail.encrypted);
        assert_eq!(mail.login.as_deref(), Some("\0me@example.com\0sesame"));
        assert_eq!(mail.to, ["<ops@example.com>", "<boss@example.com>"]);
        assert!(
            mail.text.contains("Subject: [atlas] home: nas: the newest good copy is 3 d old"),
            "{}",
            mail.text
        );
        assert!(mail.text.contains("lifeboat run daily"));
        assert!(!mail.text.contains("sesame"));
    }
}

#[test]
fn mail_to_this_machine_needs_no_tls() {
    let server = MailServer::start(&Certificate::new(), Speech::Plain);
    let channel = Channel::Smtp(Smtp {
        url: format!("smtp://localhost:{}", server.port),
        password: None,
        from: "lifeboat@localhost".into(),
        to: vec!["root@localhost".into()],
    });
    send(&channel, &message(), &post(None)).unwrap();
    assert!(!server.mails()[0].encrypted);
}

#[test]
fn no_mail_goes_to_a_server_nobody_vouches_for() {
    let server = MailServer::start(&Certificate::new(), Speech::Implicit);
    let other = Certificate::new();
    for how in [post(None), post(Some(&other))] {
        let refused = send(&smtp("smtps", server.port, "sesame"), &message(), &how).unwrap_err().to_string();
        assert!(refused.starts_with("localhost: "), "{refused}");
        assert!(!refused.contains("sesame"));
    }
    assert!(server.mails().is_empty());
}

#[test]
fn a_wrong_password_and_an_absent_server_are_told() {
    let certificate = Certificate::new();
    let server = MailServer::start(&certificate, Speech::Implicit);
    let how = post(Some(&certificate));
    let refused = send(&smtp("smtps", server.port, "wrong"), &message(), &how).unwrap_err();
    assert!(!refused.transient && refused.to_string().contains("535"), "{refused}");
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let refused = send(&smtp("smtps", closed, "x"), &message(), &how).unwrap_err();
    assert!(refused.transient, "{refused}");
}

#[test]
fn a_report_is_mailed_with_its_page() {
    let certificate = Certificate::new();
    let server = MailServer::start(&certificate, Speech::Implicit);
    let message = Message { html: Some("<h1>Everything is protected</h1>".into()), ..message() };
    send(&smtp("smtps", server.port, "sesame"), &message, &post(Some(&certificate))).unwrap();
    let text = &server.mails()[0].text;
    assert!(text.contains("multipart/alternative") && text.contains("<h1>Everything is protected</h1>"));
}

#[test]
fn ntfy_gets_title_priority_and_token() {
    let server = HttpServer::start(&[]);
    let token = Some(Zeroizing::new("tk_secret".to_string()));
    let channel = Channel::Ntfy { url: server.url("/atlas"), token };
    let message = Message { title: "Größe\nzweite".into(), priority: Priority::Urgent, ..message() };
    send(&channel, &message, &post(None)).unwrap();
    let [request] = &server.requests()[..] else { panic!("one request") };
    assert_eq!(request.path, "/atlas");
    assert_eq!(request.header("priority"), Some("urgent"));
    assert_eq!(request.header("authorization"), Some("Bearer tk_secret"));
    assert!(request.header("title").unwrap().starts_with("=?UTF-8?B?"));
    assert!(request.body.contains("lifeboat run daily"));
}

#[test]
fn webhooks_speak_each_tongue() {
    let custom = "{\"summary\": \"{{title}}\", \"all\": {{event}}}".to_string();
    let templates = [Template::Slack, Template::Discord, Template::Generic, Template::Custom(custom)];
    for template in templates {
        let server = HttpServer::start(&[]);
        let headers = BTreeMap::from([("x-key".to_string(), Zeroizing::new("k1".to_string()))]);
        let channel = Channel::Webhook { url: server.url("/hook?x=1"), template: template.clone(), headers };
        send(&channel, &message(), &post(None)).unwrap();
        let [request] = &server.requests()[..] else { panic!("one request") };
        let body: Value = serde_json::from_str(&request.body).unwrap();
        let title = message().title;
        match template {
            Template::Slack => assert!(body["text"].as_str().unwrap().starts_with(&title)),
            Template::Discord => assert!(body["content"].as_str().unwrap().starts_with(&title)),
            Template::Generic => assert_eq!(body["id"], "stale:home@nas"),
            Template::Custom(_) => {
                assert_eq!((&body["summary"], &body["all"]["v"]), (&title.into(), &1.into()))
            }
        }
        assert_eq!((request.path.as_str(), request.header("x-key")), ("/hook?x=1", Some("k1")));
        assert_eq!(request.header("content-type"), Some("application/json"));
    }
}

#[test]
fn healthchecks_hear_of_start_end_failure_and_keep_the_end_of_the_text() {
    let server = HttpServer::start(&[]);
    let url = server.url("/ping/5b1c/");
    let run = RunId("0123456789abcdef".into());
    let long = format!("{}the end", "x".repeat(20_000));
    for event in [Event::Start, Event::Success, Event::Fail, Event::Log] {
        healthchecks::ping(&url, event, Some(&run), &long, &post(None)).unwrap();
    }
    healthchecks::ping(&server.url("/ping/5b1c?create=1"), Event::Success, None, "", &post(None)).unwrap();
    let requests = server.requests();
    let paths: Vec<(&str, &str)> = requests.iter().map(|r| r.path.split_once('?').unwrap()).collect();
    let expected = ["/ping/5b1c/start", "/ping/5b1c", "/ping/5b1c/fail", "/ping/5b1c/log", "/ping/5b1c"];
    assert_eq!(paths.iter().map(|(path, _)| *path).collect::<Vec<_>>(), expected);
    assert!(paths[..4].iter().all(|(_, query)| *query == paths[0].1 && query.starts_with("rid=")));
    assert_eq!(paths[4].1, "create=1");
    assert_eq!(requests[1].body.len(), 10_000);
    assert!(requests[1].body.ends_with("the end"));
}

#[test]
fn no_message_turns_a_check_green() {
    let server = HttpServer::start(&[]);
    let channel = Channel::Healthchecks { url: server.url("/ping/5b1c") };
    send(&channel, &Message::test("atlas", 0), &post(None)).unwrap();
    for kind in ["recovered", "report", "stale"] {
        send(&channel, &Message { kind: kind.into(), ..message() }, &post(None)).unwrap();
    }
    let paths: Vec<String> = server.requests().iter().map(|r| r.path.clone()).collect();
    assert_eq!(paths, ["/ping/5b1c/log", "/ping/5b1c/log", "/ping/5b1c/log", "/ping/5b1c/fail"]);
}

#[test]
fn apprise_gets_type_and_tags() {
    let server = HttpServer::start(&[]);
    let channel =
        Channel::Apprise { url: server.url("/notify/atlas"), tags: vec!["ops".into(), "boss".into()] };
    send(&channel, &message(), &post(None)).unwrap();
    let body: Value = serde_json::from_str(&server.requests()[0].body).unwrap();
    assert_eq!((&body["type"], &body["tag"]), (&"warning".into(), &"ops,boss".into()));
}

#[test]
fn what_may_pass_is_tried_again_and_what_will_not_is_not() {
    let channel = |server: &HttpServer| Channel::Ntfy { url: server.url("/secret-topic"), token: None };
    let flaky = HttpServer::start(&[503, 429]);
    send(&channel(&flaky), &message(), &post(None)).unwrap();
    assert_eq!(flaky.requests().len(), 3);
    let down = HttpServer::start(&[500, 500, 500, 500]);
    let error = send(&channel(&down), &message(), &post(None)).unwrap_err();
    assert_eq!((error.to_string().as_str(), down.requests().len()), ("127.0.0.1: answered 500 ok", 3));
    let closed = HttpServer::start(&[403]);
    let error = send(&channel(&closed), &message(), &post(None)).unwrap_err();
    assert_eq!((error.to_string().as_str(), closed.requests().len()), ("127.0.0.1: answered 403 ok", 1));
    let gone = Channel::Ntfy { url: "http://127.0.0.1:9/secret-topic".into(), token: None };
    let error = send(&gone, &message(), &post(None)).unwrap_err().to_string();
    assert!(!error.contains("secret-topic"), "{error}");
}

#[test]
fn https_trusts_what_it_is_told_to_trust() {
    let certificate = Certificate::new();
    let server = HttpServer::start_with(&[], Some(&certificate));
    let url = format!("https://localhost:{}/atlas", server.port);
    let channel = Channel::Ntfy { url, token: None };
    send(&channel, &message(), &post(Some(&certificate))).unwrap();
    assert_eq!(server.requests().len(), 1);
    assert!(send(&channel, &message(), &post(None)).is_err());
}

#[test]
fn commands_get_the_event_and_are_ended() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("out");
    let script = format!("cat > {0}; echo \"$LIFEBOAT_KIND\" >> {0}", out.display());
    let command = |script: &str, ms| Channel::Command {
        run: vec!["sh".into(), "-c".into(), script.into()],
        timeout: Duration::from_millis(ms),
    };
    send(&command(&script, 10_000), &message(), &post(None)).unwrap();
    let text = std::fs::read_to_string(&out).unwrap();
    let (event, kind) = text.trim_end().rsplit_once('\n').unwrap();
    assert_eq!(serde_json::from_str::<Value>(event).unwrap()["subject"], "home@nas");
    assert_eq!(kind, "stale");
    let error = send(&command("echo no paper >&2; exit 3", 10_000), &message(), &post(None)).unwrap_err();
    assert!(error.to_string().contains("no paper"), "{error}");
    let error = send(&command("sleep 600", 100), &message(), &post(None)).unwrap_err();
    assert!(error.to_string().contains("did not end"), "{error}");
    let absent = Channel::Command { run: vec!["/no/such".into()], timeout: Duration::from_secs(1) };
    assert!(send(&absent, &message(), &post(None)).is_err());
}

#[test]
fn secrets_are_taken_out_of_what_is_told() {
    let message = Message { text: "login tk_secret refused".into(), ..message() };
    let clean = message.without(&[Zeroizing::new("tk_secret".into()), Zeroizing::new("a".into())]);
    assert_eq!(clean.text, "login *** refused");
}
