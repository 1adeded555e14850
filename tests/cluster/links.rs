//! The connections between the nats-servers of a cluster, which a test can cut.

use servers::{Layout, MEMBERS};
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::watch,
};

/// The links of a cluster. Each server reaches each other one over a link of its own.
pub struct Links {
    layout: Layout,
    /// The server that is cut off, if one is.
    cut: watch::Sender<Option<usize>>,
}

impl Links {
    pub async fn start() -> Self {
        let cut = watch::Sender::new(None);
        let mut routes = [0; MEMBERS];
        for port in &mut routes {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            *port = listener.local_addr().unwrap().port();
        }
        let mut links = [[0; MEMBERS]; MEMBERS];
        for (from, links) in links.iter_mut().enumerate() {
            for (to, link) in links.iter_mut().enumerate() {
                let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
                *link = listener.local_addr().unwrap().port();
                tokio::spawn(serve(listener, routes[to], [from, to], cut.subscribe()));
            }
        }
        Self {
            layout: Layout::ClusterThrough { routes, links },
            cut,
        }
    }

    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// Cuts all connections between this server and the others.
    pub fn cut_off(&self, server: usize) {
        self.cut.send_replace(Some(server));
    }

    /// Allows all connections again.
    pub fn heal(&self) {
        self.cut.send_replace(None);
    }
}

/// Connects two servers while neither is cut off.
async fn serve(
    listener: TcpListener,
    port: u16,
    servers: [usize; 2],
    cut: watch::Receiver<Option<usize>>,
) {
    let is_cut = move |cut: &Option<usize>| cut.is_some_and(|cut| servers.contains(&cut));
    while let Ok((mut from, _)) = listener.accept().await {
        let mut cut = cut.clone();
        tokio::spawn(async move {
            if is_cut(&cut.borrow()) {
                return;
            }
            let Ok(mut to) = TcpStream::connect(("127.0.0.1", port)).await else {
                return;
            };
            tokio::select! {
                _ = copy_bidirectional(&mut from, &mut to) => {}
                _ = cut.wait_for(is_cut) => {}
            }
        });
    }
}
