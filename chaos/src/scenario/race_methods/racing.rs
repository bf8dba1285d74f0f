//! Clients that race: each obtains its identifier, if it needs one, and then sends many requests at one moment
//! through all nodes.

use std::net::SocketAddr;

use futures::future::join_all;
use http::HeaderMap;
use stickler_rt::Outside;
use tokio::task::JoinSet;

use super::methods::Method;
use super::tally::{Raced, Tally};
use crate::rig::backend::{CART, ITEMS};
use crate::rig::client::{Answer, Client, VisitError};
use crate::scenario::ScenarioError;

/// Requests of one client at one moment.
const REQUESTS: usize = 12;
/// Clients that race at the same moment.
const AT_ONCE: usize = 24;

/// Where clients race.
#[derive(Clone)]
pub(super) struct Track {
    pub outside: Outside,
    pub nodes: Vec<SocketAddr>,
    /// The place of the node that entries reach late.
    pub delayed: usize,
}

impl Track {
    /// Lets so many clients race, known by this method.
    pub(super) async fn race(&self, method: &'static Method, clients: usize) -> Result<Tally, ScenarioError> {
        let mut places = JoinSet::new();
        for place in 0..AT_ONCE {
            let track = self.clone();
            places.spawn(async move {
                let mut connections = Connections::new(&track);
                let mut tally = Tally::default();
                for number in (place..clients).step_by(AT_ONCE) {
                    let raced = connections.race(method, number, &mut tally).await;
                    tally.add(raced);
                }
                tally
            });
        }
        let mut all = Tally::default();
        while let Some(of_one) = places.join_next().await {
            all.join(of_one?);
        }
        Ok(all)
    }
}

/// One client's connections to the nodes, in turn.
struct Connections<'a> {
    track: &'a Track,
    clients: Vec<Client>,
}

/// What came of a request.
type Asked = Result<(Answer, HeaderMap), VisitError>;

impl<'a> Connections<'a> {
    fn new(track: &'a Track) -> Self {
        let nodes = track.nodes.iter().cycle().take(REQUESTS);
        Self { track, clients: nodes.map(|node| Client::new(&track.outside, *node)).collect() }
    }

    async fn race(&mut self, method: &Method, number: usize, tally: &mut Tally) -> Raced {
        let cart = (CART, format!("{}-{number}", method.route));
        let mut raced = Raced { identifier: method.identifier(number), ..Raced::default() };
        // A node that can't be reached is met again in the request.
        join_all(self.clients.iter_mut().map(Client::connect)).await;
        if method.is_given() && !self.begin(method, number, &cart, &mut raced).await {
            return raced;
        }
        let identifier = raced.identifier.clone();
        let clock = &self.track.outside.clock;
        let requests = self.clients.iter_mut().enumerate().map(|(place, client)| {
            let (target, headers) = request(method, &identifier, place, &cart);
            async move {
                let began = clock.now();
                let asked = client.ask(&target, &headers, None).await;
                (place, clock.now().since(began), asked)
            }
        });
        for (place, took, asked) in join_all(requests).await {
            let through_delayed = place % self.track.nodes.len() == self.track.delayed;
            if through_delayed { &mut tally.delayed } else { &mut tally.prompt }.add(took);
            raced.take(asked);
        }
        // What is in the cart is asked for when all that was under way has arrived.
        raced.found = u64::MAX;
        for place in 0..self.track.nodes.len() {
            let (target, headers) = request(method, &identifier, REQUESTS + place, &cart);
            let items = raced.take(self.clients[place].ask(&target, &headers, None).await);
            // Each of these puts a thing into the cart, too.
            raced.found = raced.found.min(items.unwrap_or(0).saturating_sub(place as u64 + 1));
        }
        raced.put -= self.track.nodes.len() as u64;
        raced
    }

    /// The first request, which brings the identifier; whether it has.
    async fn begin(
        &mut self,
        method: &Method,
        number: usize,
        cart: &(&'static str, String),
        raced: &mut Raced,
    ) -> bool {
        let headers: Vec<_> = method.asks_for(&raced.identifier).into_iter().chain([cart.clone()]).collect();
        let asked = self.clients[number % self.track.nodes.len()].ask(method.path, &headers, None).await;
        match asked {
            Ok((answer, headers)) if answer.is_served() => {
                raced.put += 1;
                raced.began = Some(answer.backend);
                match method.given(&headers) {
                    Some(identifier) => raced.identifier = identifier,
                    None => raced.failures.push("a first answer without an identifier".to_owned()),
                }
            }
            asked => raced.failures.push(failure(asked)),
        }
        raced.failures.is_empty()
    }
}

fn request(
    method: &Method,
    identifier: &str,
    number: usize,
    cart: &(&'static str, String),
) -> (String, Vec<(&'static str, String)>) {
    let (target, header) = method.request(identifier, number);
    (target, header.into_iter().chain([cart.clone()]).collect())
}

impl Raced {
    /// Takes in what came of a request; how many things are in the cart, if it was served.
    fn take(&mut self, asked: Asked) -> Option<u64> {
        match asked {
            Ok((answer, headers)) if answer.is_served() => {
                self.put += 1;
                let Some(epoch) = answer.epoch else {
                    self.failures.push(format!("{} answered without a session", answer.backend));
                    return None;
                };
                self.places.insert((answer.backend, epoch));
                headers.get(ITEMS)?.to_str().ok()?.parse().ok()
            }
            asked => {
                self.failures.push(failure(asked));
                None
            }
        }
    }
}

fn failure(asked: Asked) -> String {
    match asked {
        Ok((answer, _)) => format!("{} {}", answer.status, answer.error.unwrap_or_default()),
        Err(error) => error.to_string(),
    }
}
