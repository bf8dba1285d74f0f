//! A zone of backends that a scenario changes, served by Debian's nsd.

use std::fmt::Write as _;
use std::fs;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal, kill_process};
use stickler_rt::Outside;
use tokio::process::Child;

use super::names::{authority_text, start};
use super::{RigError, ports};

/// The services' name, which leads to one host with many ports.
pub(crate) const SERVICES: &str = "_http._tcp.shop.example.com";

/// The zone and its server. Dropping this ends that.
#[derive(Debug)]
pub(crate) struct Zone {
    /// Where it is asked.
    pub(crate) address: SocketAddr,
    directory: PathBuf,
    serial: u32,
    server: Option<Child>,
}

impl Zone {
    /// Starts to serve a zone without services.
    pub(crate) fn start(outside: &Outside, directory: &Path) -> Result<Self, RigError> {
        let port = ports::find_free(1, &mut outside.seed.child("zone").rng())?[0];
        let directory = directory.join("zone");
        fs::create_dir_all(&directory)?;
        let directory = directory.canonicalize()?;
        fs::write(directory.join("nsd.conf"), authority_text(&directory, port))?;
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut zone = Self { address, directory, serial: 0, server: None };
        zone.set_services(&[])?;
        zone.serve()?;
        Ok(zone)
    }

    /// The services from now on.
    pub(crate) fn set_services(&mut self, services: &[SocketAddr]) -> Result<(), RigError> {
        self.serial += 1;
        fs::write(self.directory.join("zone"), text(self.serial, services))?;
        self.signal(Signal::HUP)
    }

    /// The server ends: what is asked gets no answer.
    pub(crate) async fn end(&mut self) -> Result<(), RigError> {
        self.signal(Signal::TERM)?;
        if let Some(mut server) = self.server.take() {
            server.wait().await?;
        }
        Ok(())
    }

    /// Starts the server.
    pub(crate) fn serve(&mut self) -> Result<(), RigError> {
        self.server = Some(start(&self.directory, "nsd", &["-d", "-c"])?);
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), RigError> {
        let id = self.server.as_ref().and_then(|server| Pid::from_raw(i32::try_from(server.id()?).ok()?));
        match id {
            Some(id) => kill_process(id, signal).map_err(|error| RigError::System(error.into())),
            None => Ok(()),
        }
    }
}

impl Drop for Zone {
    fn drop(&mut self) {
        // One that has ended already needs no signal. It has children of its own, and ends them.
        let _ended = self.signal(Signal::TERM);
    }
}

fn text(serial: u32, services: &[SocketAddr]) -> String {
    let mut zone = format!(
        "$ORIGIN example.com.\n$TTL 1\n@ IN SOA ns.example.com. admin.example.com. {serial} 60 60 60 1\n\
         @ IN NS ns.example.com.\nns IN A 127.0.0.1\nweb.shop IN A 127.0.0.1\n"
    );
    for service in services {
        // writing to a String can't fail
        let _ = writeln!(zone, "{SERVICES}. IN SRV 0 10 {} web.shop.example.com.", service.port());
    }
    zone
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_its_record() {
        let at = |port| SocketAddr::from((Ipv4Addr::LOCALHOST, port));
        let zone = text(7, &[at(8001), at(8002)]);
        assert!(
            zone.contains("_http._tcp.shop.example.com. IN SRV 0 10 8002 web.shop.example.com."),
            "{zone}"
        );
        assert_eq!(zone.matches("IN SRV").count(), 2);
    }
}
