//! The simulated network carries the same streams between simulated hosts.
#![cfg(feature = "turmoil")]
#![expect(clippy::unwrap_used, reason = "a helper of tests fails by panic")]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use stickler_rt::{BindOptions, Clock, Moment, Network, SimulatedNetwork};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const PORT: u16 = 4000;

fn run() -> Moment {
    let mut simulation = turmoil::Builder::new().rng_seed(1).build();
    simulation.host("server", || async {
        let anywhere = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), PORT);
        let listener = SimulatedNetwork.bind(anywhere, BindOptions::default()).await?;
        loop {
            let mut stream = listener.accept().await?;
            tokio::spawn(async move {
                let mut bytes = [0; 4];
                while stream.read_exact(&mut bytes).await.is_ok() {
                    stream.write_all(&bytes).await.unwrap();
                }
            });
        }
    });
    let (sender, receiver) = std::sync::mpsc::channel();
    simulation.client("client", async move {
        let clock = Clock::start();
        let mut stream = SimulatedNetwork.connect(SocketAddr::new(turmoil::lookup("server"), PORT)).await?;
        stream.write_all(b"ping").await?;
        let mut bytes = [0; 4];
        stream.read_exact(&mut bytes).await?;
        assert_eq!(&bytes, b"ping");
        let _ = sender.send(clock.now());
        Ok(())
    });
    simulation.run().unwrap();
    receiver.recv().unwrap()
}

#[test]
fn simulated_hosts_talk_and_one_seed_gives_one_timing() {
    let first = run();
    assert!(first > Moment::default(), "a simulated network has delays");
    assert_eq!(first, run());
}
