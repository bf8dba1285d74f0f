//! What those who watch a value may rely on.

use std::sync::{Arc, Mutex};

use stickler_rt::watch::{self, Closed, Sender};

#[tokio::test]
async fn a_change_is_told_once_and_none_is_missed() {
    let (sender, mut receiver) = watch::channel(1);
    sender.send_replace(2);
    sender.send_modify(|value| *value += 1);
    assert_eq!(receiver.changed().await, Ok(()));
    assert_eq!(*receiver.borrow(), 3);
    assert!(!sender.send_if_modified(|_| false));
    drop(sender);
    assert_eq!(receiver.changed().await, Err(Closed));
}

#[tokio::test]
async fn a_value_published_last_is_told_before_the_end() {
    let (sender, mut receiver) = watch::channel(1);
    let other = sender.clone();
    drop(sender);
    other.send_replace(2);
    drop(other);
    assert_eq!(receiver.changed().await, Ok(()));
    assert_eq!(receiver.wait_for(|value| *value == 2).await, Ok(()));
    assert_eq!(receiver.wait_for(|value| *value == 3).await, Err(Closed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_waits_on_another_thread_sees_the_last_value() {
    let sender = Arc::new(Sender::new(0));
    let mut receiver = sender.subscribe();
    let watching = tokio::spawn(async move {
        while *receiver.borrow_and_update() < 10_000 {
            receiver.changed().await.unwrap();
        }
    });
    for value in 1..=10_000 {
        sender.send_replace(value);
    }
    tokio::time::timeout(std::time::Duration::from_secs(20), watching).await.unwrap().unwrap();
}

#[tokio::test]
async fn those_who_wait_are_woken_in_the_order_in_which_they_began_to() {
    let sender = Sender::new(0);
    let woken = Arc::new(Mutex::new(Vec::new()));
    let mut tasks = Vec::new();
    for number in 0..50 {
        let (mut receiver, woken) = (sender.subscribe(), Arc::clone(&woken));
        tasks.push(tokio::spawn(async move {
            receiver.changed().await.unwrap();
            woken.lock().unwrap().push(number);
        }));
    }
    tokio::task::yield_now().await;
    sender.send_replace(1);
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(*woken.lock().unwrap(), (0..50).collect::<Vec<_>>());
}
