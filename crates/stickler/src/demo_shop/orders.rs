//! Orders: what a shop writes into the till that it shares with the other shops.

use std::sync::PoisonError;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use serde::Serialize;

use super::answer::{Memory, Refusal, Shop, json_response, read_body, see_other, wants_page};
use super::fence::Claim;
use super::till::{Order, Till, TillError};
use super::visit::{Door, NewOrder};

/// A session's orders as clients that are programs see them.
#[derive(Serialize)]
struct OrdersAnswer<'a> {
    backend: &'a str,
    session: &'a str,
    epoch: u64,
    orders: Vec<Order>,
}

impl Shop {
    /// Shows the session's orders, or orders what is in its cart.
    pub(super) async fn visit_till(
        &self,
        till: &Till,
        door: Door,
        head: &Parts,
        body: Incoming,
    ) -> Result<Response<Full<Bytes>>, Refusal> {
        let claim = Claim::of(&head.headers).filter(Claim::is_well_formed).ok_or(Refusal::NoHandle)?;
        let orders = match head.method {
            Method::GET => at_till(till, &claim, None).await?,
            Method::POST => {
                let body = read_body(body).await?;
                let NewOrder { number } = NewOrder::read(&head.headers, &body).ok_or(Refusal::BadBody)?;
                let items = {
                    let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
                    memory.cart_to_order(door, head, &claim)?
                };
                at_till(till, &claim, Some((number, self.name.clone(), items))).await?
            }
            _ => return Err(Refusal::WrongMethod),
        };
        if head.method == Method::POST && wants_page(&head.headers) {
            return Ok(see_other(door.page_path()));
        }
        let (backend, session) = (self.name.as_str(), claim.handle.as_str());
        Ok(json_response(&OrdersAnswer { backend, session, epoch: claim.epoch, orders }))
    }
}

impl Memory {
    /// What an order of this session would be. An order leaves the cart as it is.
    fn cart_to_order(&mut self, door: Door, head: &Parts, claim: &Claim) -> Result<Vec<String>, Refusal> {
        let session = door.identifier(&head.headers).map(|identifier| door.session(identifier));
        let session =
            session.filter(|session| self.carts.contains(session)).ok_or(Refusal::NothingToOrder)?;
        let cart = self.carts.open(&session);
        cart.fence.pass(claim.epoch)?;
        let items: Vec<String> = cart.items().map(|(_, item)| item.to_owned()).collect();
        if items.is_empty() { Err(Refusal::NothingToOrder) } else { Ok(items) }
    }
}

/// Waits for the till on a thread of its own: another shop may be at it.
async fn at_till(
    till: &Till,
    claim: &Claim,
    order: Option<(Option<u64>, String, Vec<String>)>,
) -> Result<Vec<Order>, TillError> {
    let (till, claim) = (till.clone(), claim.clone());
    let done = tokio::task::spawn_blocking(move || match order {
        None => till.orders(&claim),
        Some((number, backend, items)) => till.order(&claim, number, &backend, items),
    });
    done.await.unwrap_or_else(|panicked| Err(TillError::Unusable(std::io::Error::other(panicked))))
}
