use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use stickler_core::ids::KeyHash;
use stickler_proto::admin::{
    ApplyDocumentRequest, RotateKeyRequest, SessionRule, SetBackendAdminRequest, ShowSessionRequest,
    UnbindSessionRequest, UnbindSessionsRequest,
};

use crate::support::{DOCUMENT, TestNode};

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn every_change_is_noted_with_who_asked_and_never_with_an_identifier() {
    // For the whole process: a subscriber of this thread alone misses what another thread's test was the
    // first to log. So the lines of other tests are in here, too.
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).init();

    let node = TestNode::start().await;
    node.apply().await;
    let apply = ApplyDocumentRequest {
        text: DOCUMENT.replace("web-2", "web-of-audit"),
        file_name: "audit.toml".to_owned(),
        expected_revision: 1,
        removal: None,
    };
    node.client().await.apply_document(apply).await.unwrap();
    let session = node.session_of_cookie("very-secret");
    node.place(std::iter::once(session.key)).await;
    let mut client = node.client().await;
    let found = ShowSessionRequest {
        affinity: "cart".to_owned(),
        key: String::new(),
        identifier: "very-secret".to_owned(),
    };
    let shown = client.show_session(found).await.unwrap().into_inner();
    let unbind = UnbindSessionRequest {
        affinity: "cart".to_owned(),
        key: shown.key.clone(),
        expected_epoch: shown.epoch,
    };
    client.unbind_session(unbind).await.unwrap();
    node.place((1..=3).map(KeyHash)).await;
    let affinity = "cart".to_owned();
    let rule = SessionRule { affinity, backend: 0, older_than_milliseconds: Some(0) };
    tokio::time::sleep(Duration::from_millis(20)).await;
    let by_rule = UnbindSessionsRequest { rule: Some(rule), rate: 100, dry_run: false };
    let mut progress = client.unbind_sessions(by_rule).await.unwrap().into_inner();
    while progress.message().await.unwrap().is_some() {}
    let stale = SetBackendAdminRequest {
        id: node.backend("web-of-audit").await.id,
        admin: "maint".to_owned(),
        drain_milliseconds: None,
        expected_revision: 77,
    };
    client.set_backend_admin(stale).await.unwrap_err();
    client.rotate_key(RotateKeyRequest { expected_key: 1 }).await.unwrap();

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let noted = |subject: &str| {
        let lines: Vec<&str> =
            text.lines().filter(|line| line.contains(" audit: ") && line.contains(subject)).collect();
        let [line] = lines.as_slice() else { panic!("{subject}: {lines:#?}") };
        assert!(line.contains(&format!("process {}", std::process::id())), "{line}");
        (*line).to_owned()
    };
    let applied = noted("audit.toml on revision 1");
    assert!(applied.contains("apply document") && applied.contains("index="), "{applied}");
    let unbound = noted(&shown.key);
    assert!(unbound.contains("unbind session") && unbound.contains("index="), "{unbound}");
    let by_rule = noted("of cart, older than 0ns");
    assert!(by_rule.contains("unbind sessions") && by_rule.contains("done=3"), "{by_rule}");
    let refused = noted("shop/web-of-audit");
    assert!(refused.contains("set backend admin") && refused.contains("FailedPrecondition"), "{refused}");
    assert!(text.contains("rotate sealing key") && text.contains("after key 1"), "{text}");
    assert!(!text.contains("very-secret"));
}
