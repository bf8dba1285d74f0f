//! The cluster documents of scenarios, around the backends of a plan. Pure.

use std::time::Duration;

/// A cluster document without its backends.
#[derive(Clone, Debug)]
pub(crate) struct Document {
    pub(super) before_backends: String,
    /// Further options of each backend.
    pub(super) of_each_backend: String,
    pub(super) after_backends: String,
}

/// An affinity behind a route of its own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Door<'a> {
    /// What both are called.
    pub name: &'a str,
    /// Where its requests go.
    pub path_prefix: &'a str,
    /// The affinity's own options, `idle_timeout` among them.
    pub options: &'a str,
    /// The affinity's tables, from `[[affinity.by]]` on.
    pub methods: &'a str,
}

/// No session expires during a run.
const FOR_EVER: Duration = Duration::from_secs(2 * 3600);

/// The same as a door's option.
pub(crate) const NEVER_IDLE: &str = "idle_timeout = \"2h\"";

impl Document {
    /// One pool behind several routes, each of which recognises sessions in another way: those of
    /// [`identifier::Door`](crate::identifier::Door).
    pub(crate) fn shop() -> Self {
        Self::shop_with(FOR_EVER)
    }

    /// The same, where sessions end when they were not used for so many whole seconds.
    pub(crate) fn shop_with(idle_timeout: Duration) -> Self {
        let idle = format!("{}s", idle_timeout.as_secs());
        Self {
            before_backends: before_backends(""),
            of_each_backend: String::new(),
            after_backends: SHOP.replace("{idle}", &idle),
        }
    }

    /// One pool behind these doors. Clients are known by what proxies of this machine say of them.
    pub(crate) fn of(doors: &[Door<'_>]) -> Self {
        let of_one = |Door { name, path_prefix, options, methods }: &Door<'_>| {
            format!(
                "[[affinity]]\nname = \"{name}\"\n{options}\n\n{methods}\n\n\
                 [[route]]\nname = \"{name}\"\npath_prefix = \"{path_prefix}\"\npool = \"web\"\naffinity = \"{name}\"\n\n"
            )
        };
        Self {
            before_backends: before_backends(BEHIND_PROXIES),
            of_each_backend: String::new(),
            after_backends: doors.iter().map(of_one).collect(),
        }
    }

    /// The same, with further options of the pool and of each of its backends, and further tables of the pool.
    pub(crate) fn with_pool(mut self, options: &str, of_each_backend: &str, tables: &str) -> Self {
        let named = format!("{POOL}{options}\n");
        self.before_backends = self.before_backends.replacen(POOL, &named, 1) + tables + "\n\n";
        of_each_backend.clone_into(&mut self.of_each_backend);
        self
    }

    /// The same, with a further option of the pool's check.
    pub(crate) fn with_check(mut self, option: &str) -> Self {
        self.before_backends = self.before_backends.replace(CHECK_PATH, &format!("{CHECK_PATH}{option}\n"));
        self
    }

    /// The same, where a connection is all that the pool's check asks for.
    pub(crate) fn with_connecting_check(mut self) -> Self {
        self.before_backends = self.before_backends.replace(CHECK_PATH, CHECK);
        self
    }

    /// The same, with a route to the pool that needs no session.
    pub(crate) fn with_open_route(mut self, path_prefix: &str) -> Self {
        let route =
            format!("[[route]]\nname = \"open\"\npath_prefix = \"{path_prefix}\"\npool = \"web\"\n\n");
        self.after_backends.push_str(&route);
        self
    }

    /// The same, where a backend is down only when it refuses, or has not answered for ten seconds and more: one that a
    /// busy machine keeps waiting stays up.
    pub(crate) fn with_patient_checks(mut self) -> Self {
        let patient = "interval = \"3s\"\ntimeout = \"3s\"\nfall = 5";
        self.before_backends = self.before_backends.replace(CHECK_TIMES, patient);
        self
    }
}

const POOL: &str = "[[pool]]\nname = \"web\"\n";

const CHECK: &str = "[pool.check]\n";

const CHECK_PATH: &str = "[pool.check]\npath = \"/health\"\n";

const CHECK_TIMES: &str = "interval = \"500ms\"\ntimeout = \"500ms\"";

const BEHIND_PROXIES: &str = "trusted_proxies = [\"127.0.0.0/8\"]\nclient_address = \"x-forwarded-for\"\n";

fn before_backends(listener: &str) -> String {
    BEFORE_BACKENDS.replace("{listener}", listener)
}

const BEFORE_BACKENDS: &str = r#"version = 1

[limits]
debug_headers = true

[[listener]]
name = "public"
address = "127.0.0.1:0"
{listener}
[[pool]]
name = "web"

[pool.check]
path = "/health"
interval = "500ms"
timeout = "500ms"

"#;

const SHOP: &str = r#"[[affinity]]
name = "own"
idle_timeout = "{idle}"

[[affinity.by]]
method = "application-cookie"
name = "SHOPSESSION"

[[affinity]]
name = "token"
idle_timeout = "{idle}"

[[affinity.by]]
method = "cookie"

[[affinity]]
name = "header"
idle_timeout = "{idle}"

[[affinity.by]]
method = "header"
name = "X-Session"

[[affinity]]
name = "strict"
idle_timeout = "{idle}"
when_isolated = "refuse"

[[affinity.by]]
method = "header"
name = "X-Session"

[[affinity]]
name = "source"
idle_timeout = "{idle}"
when_isolated = "refuse"

[[affinity.by]]
method = "source-address"

[[affinity]]
name = "socket"
idle_timeout = "{idle}"
when_isolated = "refuse"
alias_grace = "2s"

[[affinity.by]]
method = "header"
name = "X-Session"

[[route]]
name = "own"
pool = "web"
affinity = "own"

[[route]]
name = "token"
path_prefix = "/token"
pool = "web"
affinity = "token"

[[route]]
name = "header"
path_prefix = "/api"
pool = "web"
affinity = "header"

[[route]]
name = "strict"
path_prefix = "/strict"
pool = "web"
affinity = "strict"

[[route]]
name = "source"
path_prefix = "/from"
pool = "web"
affinity = "source"

[[route]]
name = "socket"
path_prefix = "/socket"
pool = "web"
affinity = "socket"
"#;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pool_is_given_beside_stands_in_its_tables() {
        let document =
            Document::shop().with_pool("max_queue = 7", "max_requests = 3", "[pool.ejection]\ntime = \"2s\"");
        let document = document.with_check("drain_status = 404");
        let before = &document.before_backends;
        assert!(before.contains("path = \"/health\"\ndrain_status = 404\n"), "{before}");
        assert!(before.contains("[[pool]]\nname = \"web\"\nmax_queue = 7\n\n[pool.check]"), "{before}");
        assert!(before.ends_with("[pool.ejection]\ntime = \"2s\"\n\n"), "{before}");
    }

    #[test]
    fn a_check_that_only_connects_has_no_path() {
        let document = Document::shop().with_connecting_check();
        assert!(document.before_backends.contains("[pool.check]\ninterval"), "{}", document.before_backends);
    }

    #[test]
    fn patient_checks_take_the_place_of_the_usual_ones() {
        let (usual, patient) = (Document::shop(), Document::shop().with_patient_checks());
        assert!(usual.before_backends.contains(CHECK_TIMES));
        assert!(!patient.before_backends.contains("500ms") && patient.before_backends.contains("fall = 5"));
    }
}
