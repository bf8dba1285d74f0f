//! The clients: known sessions on keep-alive connections, at a rate or as fast as they are answered.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use stickler_rt::Clock;
use tokio::task::JoinSet;

use super::backend::BEGIN;
use super::connection::{Answer, Connection};
use crate::failure::Failure;
use crate::figures::Latencies;

/// How a session is recognised.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Affinity {
    /// By a header of the request.
    Header,
    /// By the application's cookie.
    Cookie,
}

impl Affinity {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Header, Self::Cookie];

    /// What tables call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
            Self::Cookie => "application cookie",
        }
    }
}

/// The requests of known sessions, one for each, as bytes.
pub type Requests = Arc<Vec<Vec<u8>>>;

/// Begins sessions at a proxy and makes sure that it keeps each on its backend.
///
/// # Errors
/// [`Failure::Void`] when a session moves, or all of them share a backend.
pub async fn begin_sessions(
    proxy: SocketAddr,
    affinity: Affinity,
    count: usize,
) -> Result<Requests, Failure> {
    let failed = || Failure::call(format!("beginning sessions by {}", affinity.name()));
    let mut connection = Connection::open(proxy).await.map_err(failed())?;
    let mut requests = Vec::new();
    let mut homes = Vec::new();
    for number in 0..count {
        let identifier = format!("{:032x}", crate::callers::key(number as u64));
        let (first, later) = match affinity {
            Affinity::Header => {
                let request = request("/header", &format!("X-Session: {identifier}"));
                (request.clone(), request)
            }
            Affinity::Cookie => {
                let cookie = format!("Cookie: {}={identifier}", super::backend::COOKIE);
                (request(&format!("{BEGIN}{identifier}"), "Accept: */*"), request("/cookie", &cookie))
            }
        };
        let answer = connection.ask(&first).await.map_err(failed())?;
        let revealed = answer.cookie.is_none_or(|cookie| cookie.ends_with(&identifier));
        if answer.status != 200 || !revealed {
            return Err(Failure::Void(format!("the first request of a session got {}", answer.status)));
        }
        homes.push(answer.backend);
        requests.push(later);
    }
    for (request, home) in requests.iter().zip(&homes) {
        let Answer { status, backend, .. } = connection.ask(request).await.map_err(failed())?;
        if status != 200 || backend != *home {
            return Err(Failure::Void(format!(
                "a session moved from backend {home:?} to {backend:?} ({status})"
            )));
        }
    }
    if count > 20 && homes.iter().all(|home| *home == homes[0]) {
        return Err(Failure::Void("all sessions share one backend".to_owned()));
    }
    Ok(Arc::new(requests))
}

fn request(path: &str, header: &str) -> Vec<u8> {
    format!(
        "GET {path} HTTP/1.1\r\nHost: bench.example.com\r\nUser-Agent: stickler-bench\r\n{header}\r\n\r\n"
    )
    .into_bytes()
}

/// How requests come.
#[derive(Clone, Copy, Debug)]
pub struct Load {
    /// Keep-alive connections, each with one request at a time.
    pub connections: usize,
    /// Requests in a second over all of them; `None` is as fast as they are answered.
    pub rate: Option<f64>,
    /// For how long.
    pub duration: Duration,
}

impl Load {
    /// When a connection's request of this number is due, after the start. The connections take turns.
    fn due(&self, connection: usize, number: u64) -> Option<Duration> {
        let turn = number as f64 * self.connections as f64 + connection as f64;
        self.rate.map(|rate| Duration::from_secs_f64(turn / rate))
    }
}

/// Sends known sessions' requests. Returns the latencies of what was answered, with 200 every time.
///
/// # Errors
/// [`Failure::Call`] with the first answer that was none or not 200.
pub async fn send(proxy: SocketAddr, requests: &Requests, load: Load) -> Result<Latencies, Failure> {
    let what = format!("a request to the proxy at {proxy}");
    let mut open = Vec::new();
    for _ in 0..load.connections {
        open.push(Connection::open(proxy).await.map_err(Failure::call(&what))?);
    }
    let clock = Clock::start();
    let mut sending = JoinSet::new();
    for (number, connection) in open.into_iter().enumerate() {
        sending.spawn(one_connection(connection, number, Arc::clone(requests), load, clock.clone()));
    }
    let mut all = Latencies::new();
    while let Some(ended) = sending.join_next().await {
        let latencies = ended.map_err(Failure::call(&what))?;
        all.merge(&latencies.map_err(Failure::call(&what))?);
    }
    Ok(all)
}

async fn one_connection(
    mut connection: Connection,
    number: usize,
    requests: Requests,
    load: Load,
    clock: Clock,
) -> std::io::Result<Latencies> {
    let mut latencies = Latencies::new();
    for turn in 0.. {
        if let Some(due) = load.due(number, turn) {
            if due >= load.duration {
                break;
            }
            // One that is late is sent at once, so that the rate stays.
            tokio::time::sleep(due.saturating_sub(clock.now().0)).await;
        }
        let began = clock.now();
        if began.0 >= load.duration {
            break;
        }
        let turn = usize::try_from(turn).unwrap_or(0);
        let session = (number + turn * load.connections) % requests.len();
        connection.ask_quickly(&requests[session]).await?;
        let took = clock.now().since(began).as_micros();
        latencies.add(u64::try_from(took).unwrap_or(u64::MAX), 1);
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_take_turns_at_the_rate_of_all() {
        let load = Load { connections: 4, rate: Some(8.0), duration: Duration::from_secs(1) };
        let due = |connection, number| load.due(connection, number).unwrap().as_millis();
        assert_eq!([due(0, 0), due(1, 0), due(3, 0), due(0, 1)], [0, 125, 375, 500]);
        assert_eq!(Load { rate: None, ..load }.due(3, 9), None);
    }
}
