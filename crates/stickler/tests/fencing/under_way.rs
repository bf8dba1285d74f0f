//! What one session has under way through a node that stops, and what must become of it.

use std::net::SocketAddr;

use crate::cluster::{Cluster, Node};
use crate::visitor::{Answer, Visitor};

/// One session with its requests, each of which has a number of its own, by which it is found where it went.
pub struct Session {
    name: String,
    numbers: u64,
    /// An order that the node has sent on, but for the end of its body.
    on_its_way: Visitor,
    /// Connections whose requests the node has yet to send on, in the order of their numbers.
    others: Vec<Visitor>,
    /// A connection that the node knows, and nothing is sent on as long as it runs.
    kept: Option<Visitor>,
    /// The epochs before and after the move.
    epochs: [u64; 2],
    /// Numbers that were answered by the new shop.
    served: Vec<u64>,
}

impl Session {
    /// Sends the head of an order and the beginning of its body.
    pub async fn with_an_order_on_its_way(name: String, node: SocketAddr, numbers: u64) -> Self {
        let mut kept = Visitor::at(node, &name).await;
        let cart = kept.ask("POST", "/api/cart", &item(numbers)).await.json();
        let epochs = [number_of(&cart["epoch"]), 0];
        let mut on_its_way = Visitor::at(node, &name).await;
        let body = order(numbers);
        on_its_way.upload("/api/orders", body.len()).await;
        on_its_way.go_on(&body[..3]).await;
        let (others, kept) = (Vec::new(), Some(kept));
        Self { name, numbers, on_its_way, others, kept, epochs, served: Vec::new() }
    }

    /// Sends a request for which the node has to make a connection to the shop.
    pub async fn send_what_is_held(&mut self, node: SocketAddr) {
        self.others.push(Visitor::at(node, &self.name).await);
        self.send_next().await;
    }

    /// Leaves requests in the sockets of a node that stands still: on a connection that it knows, and on one that it
    /// has not accepted. The order on its way comes to its end there, too.
    pub async fn send_meanwhile(&mut self, node: SocketAddr) {
        self.others.extend(self.kept.take());
        self.send_next().await;
        self.others.push(Visitor::at(node, &self.name).await);
        self.send_next().await;
        self.on_its_way.go_on(&order(self.numbers)[3..]).await;
    }

    async fn send_next(&mut self) {
        let number = self.numbers + self.others.len() as u64;
        self.others.last_mut().unwrap().send("POST", "/api/cart", &item(number)).await;
    }

    /// The client asks another node, and its new shop shows it the till.
    pub async fn looks_at_orders(&mut self, node: &Node, shop: &str) {
        let answer = Visitor::at(node.address, &self.name).await.ask("GET", "/api/orders", "").await;
        assert_eq!(answer.backend, shop);
        self.epochs[1] = number_of(&answer.json()["epoch"]);
        assert!(self.epochs[1] > self.epochs[0], "{:?}", self.epochs);
    }

    /// What was on its way by the old epoch reaches the old shop, and not the till.
    pub async fn late_order_is_refused(&mut self, shop: &str) {
        let answer = self.on_its_way.answer().await.unwrap();
        assert_eq!((answer.status, answer.backend.as_str()), (412, shop), "{}: {answer:?}", self.name);
        let [old, new] = self.epochs;
        assert!(answer.body.starts_with(&format!("epoch {old} was overtaken by epoch {new}")), "{answer:?}");
    }

    /// Everything else is answered by the new shop, or with an error of the node. What was not.
    pub async fn reads_the_other_answers(&mut self, shop: &str) -> Vec<String> {
        let mut astray = Vec::new();
        for (number, visitor) in (self.numbers + 1..).zip(&mut self.others) {
            match visitor.answer().await {
                Ok(Answer { status: 500.., backend, .. }) if backend.is_empty() => {}
                Ok(answer) if (answer.status, answer.backend.as_str()) == (200, shop) => {
                    assert_eq!(
                        number_of(&answer.json()["epoch"]),
                        self.epochs[1],
                        "{}: {answer:?}",
                        self.name
                    );
                    self.served.push(number);
                }
                Ok(answer) => astray.push(format!("{} {number}: {answer:?}", self.name)),
                Err(_the_connection_ended) => {}
            }
        }
        astray
    }

    /// How many of its requests the new shop answered.
    pub fn served(&self) -> usize {
        self.served.len()
    }

    /// By the shops' own memory, and by the till.
    pub async fn is_found_where_it_was_served(&self, cluster: &Cluster, [from, to]: [usize; 2]) {
        let mut carts = Vec::new();
        for shop in [from, to] {
            let mut visitor = Visitor::at(cluster.shops[shop].address, &self.name).await;
            let cart = visitor.ask("GET", "/api/cart", "").await.json();
            let numbers = cart["items"].as_array().unwrap().iter().map(|item| number_of(&item["number"]));
            carts.push(numbers.filter(|number| *number > self.numbers).collect::<Vec<u64>>());
        }
        assert_eq!(carts, [vec![], self.served.clone()], "{}", self.name);
        let mut visitor = Visitor::at(cluster.nodes[0].address, &self.name).await;
        let orders = visitor.ask("GET", "/api/orders", "").await.json();
        assert_eq!(orders["orders"], serde_json::json!([]), "{}", self.name);
    }
}

fn number_of(number: &serde_json::Value) -> u64 {
    // The shop shows an epoch as it came, and that is a text.
    number.as_u64().or_else(|| number.as_str()?.parse().ok()).unwrap()
}

fn item(number: u64) -> String {
    format!("item=tea&number={number}")
}

fn order(number: u64) -> String {
    format!("number={number}")
}
