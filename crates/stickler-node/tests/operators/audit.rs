use std::io;
use std::sync::{Arc, Mutex};

use stickler_proto::admin::{SetBackendAdminRequest, ShowSessionRequest, UnbindSessionRequest};

use crate::support::TestNode;

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
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(move || writer.clone()).finish();
    // Every task of this test runs on this thread.
    let _guard = tracing::subscriber::set_default(subscriber);

    let node = TestNode::start().await;
    node.apply().await;
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
    let stale = SetBackendAdminRequest {
        id: shown.backend,
        admin: "maint".to_owned(),
        drain_milliseconds: None,
        expected_revision: 77,
    };
    client.set_backend_admin(stale).await.unwrap_err();

    let text = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let audit: Vec<&str> = text.lines().filter(|line| line.contains(" audit: ")).collect();
    let [applied, unbound, refused] = audit.as_slice() else { panic!("{audit:#?}") };
    let process = format!("process {}", std::process::id());
    assert!(audit.iter().all(|line| line.contains(&process)), "{audit:#?}");
    assert!(applied.contains("apply document") && applied.contains("index="), "{applied}");
    assert!(unbound.contains("unbind session") && unbound.contains(&shown.key), "{unbound}");
    assert!(refused.contains("shop/web-") && refused.contains("FailedPrecondition"), "{refused}");
    assert!(!text.contains("very-secret"));
}
