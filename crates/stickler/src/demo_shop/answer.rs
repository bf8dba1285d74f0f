//! From a request to the shop's response.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::header::{
    ACCEPT, ALLOW, CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, SET_COOKIE,
};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use rand::RngCore;
use rand::rngs::StdRng;
use serde::Serialize;

use super::carts::{AddError, Cart, Carts};
use super::fence::{Claim, EPOCH, Overtaken};
use super::page::{self, Heading};
use super::till::{Till, TillError};
use super::visit::{Door, NewItem, Place, SESSION_COOKIE};

/// Bytes of a body that adds an item.
const LARGEST_BODY: usize = 4096;
const X_BACKEND: HeaderName = HeaderName::from_static("x-backend");

/// One demo shop: its name and its memory.
pub(super) struct Shop {
    pub(super) name: String,
    /// The name as a header. It was checked when the shop started.
    name_header: HeaderValue,
    pub(super) memory: Mutex<Memory>,
    /// Where orders go; without it the shop takes none.
    till: Option<Till>,
}

pub(super) struct Memory {
    pub(super) carts: Carts,
    rng: StdRng,
}

/// The cart as clients that are programs see it.
#[derive(Serialize)]
struct CartAnswer<'a> {
    backend: &'a str,
    session: &'a str,
    epoch: Option<&'a str>,
    count: usize,
    items: Vec<ItemAnswer<'a>>,
}

#[derive(Serialize)]
struct ItemAnswer<'a> {
    number: u64,
    item: &'a str,
}

/// Why a request was refused; the answer says it in words.
pub(super) enum Refusal {
    NoSuchPlace,
    WrongMethod,
    NoIdentifier(Door),
    NoHandle,
    BadBody,
    CantAdd(AddError),
    NothingToOrder,
    Overtaken(Overtaken),
    AtTill(TillError),
}

impl Shop {
    pub fn new(name: String, name_header: HeaderValue, till: Option<Till>, rng: StdRng) -> Self {
        Self { name, name_header, memory: Mutex::new(Memory { carts: Carts::new(), rng }), till }
    }

    /// Answers one request.
    pub async fn answer(&self, request: Request<Incoming>) -> Response<Full<Bytes>> {
        let answer = match request.uri().path() {
            "/health" => text(StatusCode::OK, "fit\n".to_owned()),
            _ => self.visit(request).await.unwrap_or_else(Refusal::into_response),
        };
        self.signed(answer)
    }

    fn signed(&self, mut answer: Response<Full<Bytes>>) -> Response<Full<Bytes>> {
        answer.headers_mut().insert(X_BACKEND, self.name_header.clone());
        answer.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        answer
    }

    async fn visit(&self, request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Refusal> {
        let (door, place) = Door::find(request.uri().path()).ok_or(Refusal::NoSuchPlace)?;
        let (head, body) = request.into_parts();
        if place == Place::Orders {
            let till = self.till.as_ref().ok_or(Refusal::NoSuchPlace)?;
            return self.visit_till(till, door, &head, body).await;
        }
        let addition = match (head.method, place) {
            (Method::GET, _) => None,
            (Method::POST, Place::Cart) => {
                let body = read_body(body).await?;
                Some(NewItem::read(&head.headers, &body).ok_or(Refusal::BadBody)?)
            }
            _ => return Err(Refusal::WrongMethod),
        };
        let from_form = addition.is_some() && wants_page(&head.headers);
        let mut memory = self.memory.lock().unwrap_or_else(PoisonError::into_inner);
        let (identifier, is_new) = memory.identifier(door, &head.headers)?;
        let cart = memory.carts.open(&door.session(&identifier));
        // Under the same lock as what it allows, and after the whole body: nothing can overtake it any more.
        if let Some(claim) = Claim::of(&head.headers) {
            cart.fence.pass(claim.epoch)?;
        }
        if let Some(NewItem { item, number }) = addition {
            cart.add(number, &item).map_err(Refusal::CantAdd)?;
        }
        let epoch = head.headers.get(EPOCH).and_then(|epoch| epoch.to_str().ok());
        let takes_orders = self.till.is_some();
        let heading = Heading { backend: &self.name, door, identifier: &identifier, epoch, takes_orders };
        let mut answer = match place {
            Place::Page => page_response(&heading, cart),
            _ if from_form => see_other(door.page_path()),
            _ => cart_response(&heading, cart),
        };
        if is_new {
            answer.headers_mut().insert(SET_COOKIE, session_cookie(&identifier));
        }
        Ok(answer)
    }
}

impl Memory {
    /// The identifier of the request's session, and whether it was made just now. Like most applications,
    /// the shop makes its cookie's value itself and takes up none that it doesn't know: otherwise whoever
    /// plants a cookie could share the visitor's cart.
    fn identifier(&mut self, door: Door, headers: &HeaderMap) -> Result<(String, bool), Refusal> {
        match (door, door.identifier(headers)) {
            (Door::Own, Some(identifier)) if self.carts.contains(&door.session(identifier)) => {
                Ok((identifier.to_owned(), false))
            }
            (Door::Own, _) => {
                let mut bytes = [0; 16];
                self.rng.fill_bytes(&mut bytes);
                Ok((format!("{:032x}", u128::from_be_bytes(bytes)), true))
            }
            (_, Some(identifier)) => Ok((identifier.to_owned(), false)),
            (_, None) => Err(Refusal::NoIdentifier(door)),
        }
    }
}

/// A whole body, however slowly it comes.
pub(super) async fn read_body(body: Incoming) -> Result<Bytes, Refusal> {
    let body = Limited::new(body, LARGEST_BODY).collect().await.map_err(|_| Refusal::BadBody)?;
    Ok(body.to_bytes())
}

/// Browsers ask for pages by name; programs don't.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    headers.get(ACCEPT).and_then(|accept| accept.to_str().ok()).is_some_and(|it| it.contains("text/html"))
}

fn session_cookie(identifier: &str) -> HeaderValue {
    HeaderValue::from_str(&format!("{SESSION_COOKIE}={identifier}; Path=/; HttpOnly; SameSite=Lax"))
        .expect("an identifier that the shop made is hexadecimal digits")
}

fn page_response(heading: &Heading<'_>, cart: &Cart) -> Response<Full<Bytes>> {
    response(StatusCode::OK, "text/html; charset=utf-8", page::render(heading, cart))
}

fn cart_response(heading: &Heading<'_>, cart: &Cart) -> Response<Full<Bytes>> {
    let items = cart.items().map(|(number, item)| ItemAnswer { number, item }).collect();
    let answer = CartAnswer {
        backend: heading.backend,
        session: heading.identifier,
        epoch: heading.epoch,
        count: cart.items().len(),
        items,
    };
    json_response(&answer)
}

pub(super) fn json_response(answer: &impl Serialize) -> Response<Full<Bytes>> {
    let mut body = serde_json::to_string(answer).expect("strings and numbers can be written as JSON");
    body.push('\n');
    response(StatusCode::OK, "application/json", body)
}

pub(super) fn see_other(path: &'static str) -> Response<Full<Bytes>> {
    let mut answer = text(StatusCode::SEE_OTHER, String::new());
    answer.headers_mut().insert(LOCATION, HeaderValue::from_static(path));
    answer
}

fn text(status: StatusCode, body: String) -> Response<Full<Bytes>> {
    response(status, "text/plain; charset=utf-8", body)
}

fn response(status: StatusCode, kind: &'static str, body: String) -> Response<Full<Bytes>> {
    let mut answer = Response::new(Full::new(Bytes::from(body)));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}

impl Refusal {
    fn into_response(self) -> Response<Full<Bytes>> {
        let (status, why) = match &self {
            Self::NoSuchPlace => (StatusCode::NOT_FOUND, "there is nothing here\n".to_owned()),
            Self::WrongMethod => (StatusCode::METHOD_NOT_ALLOWED, "GET, or POST to a cart\n".to_owned()),
            Self::NoIdentifier(Door::Api) => {
                (StatusCode::BAD_REQUEST, "send a header X-Session with 1 to 256 characters\n".to_owned())
            }
            Self::NoIdentifier(_) | Self::NoHandle => {
                (StatusCode::BAD_REQUEST, "no header stickler-session: come here through a node\n".to_owned())
            }
            Self::BadBody => {
                (StatusCode::BAD_REQUEST, "send item=... as a form, or {\"item\": ...} as JSON\n".to_owned())
            }
            Self::CantAdd(why) => (StatusCode::CONFLICT, format!("{why}\n")),
            Self::NothingToOrder => (StatusCode::CONFLICT, "there is nothing in the cart\n".to_owned()),
            Self::Overtaken(why) | Self::AtTill(TillError::Overtaken(why)) => {
                (StatusCode::PRECONDITION_FAILED, format!("{why}\n"))
            }
            Self::AtTill(why @ TillError::Full) => (StatusCode::CONFLICT, format!("{why}\n")),
            Self::AtTill(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")),
        };
        let mut answer = text(status, why);
        if matches!(self, Self::WrongMethod) {
            answer.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, POST"));
        }
        answer
    }
}

impl From<Overtaken> for Refusal {
    fn from(why: Overtaken) -> Self {
        Self::Overtaken(why)
    }
}

impl From<TillError> for Refusal {
    fn from(why: TillError) -> Self {
        Self::AtTill(why)
    }
}
