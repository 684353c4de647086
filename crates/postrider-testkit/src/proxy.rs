//! A network that fails when the test says so: a TCP proxy on loopback.
//!
//! It passes bytes, and knows nothing of what they say.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinHandle, JoinSet};

use crate::LoopbackIp;

/// The proxy's port. Its address is its own, so that it can be closed and opened again.
const PROXY_PORT: u16 = 27_018;

/// What a [`TcpProxy`] does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ProxyMode {
    /// Passes everything, both ways.
    Pass,
    /// Refuses new connections; those that there are go on.
    Refuse,
    /// Keeps connections and passes nothing, not even their ends. What was sent meanwhile comes out afterwards, as with
    /// packets that a network loses and TCP repeats.
    Drop,
    /// Each piece waits so long before it is passed.
    Delay(Duration),
    /// Clients read the end of the stream, while what they send still arrives: a request may be carried out, and its answer
    /// is lost for good.
    HalfClose,
}

/// A proxy in front of one server. Dropping it ends its connections.
#[derive(Debug)]
pub struct TcpProxy {
    address: SocketAddr,
    orders: mpsc::UnboundedSender<(Order, oneshot::Sender<()>)>,
    task: JoinHandle<()>,
    _ip: LoopbackIp,
}

#[derive(Debug, Clone, Copy)]
enum Order {
    Set(ProxyMode),
    Cut,
}

impl TcpProxy {
    /// Starts a proxy that passes everything to `target`.
    ///
    /// # Panics
    ///
    /// When the machine gives no loopback address.
    pub async fn start(target: SocketAddr) -> Self {
        let ip = LoopbackIp::claim();
        let address = SocketAddr::new(ip.ip(), PROXY_PORT);
        let listener = TcpListener::bind(address).await.expect("a claimed address has free ports");
        let (orders, received) = mpsc::unbounded_channel();
        let door = Door { address, target, mode: watch::Sender::new(ProxyMode::Pass), connections: JoinSet::new() };
        let task = tokio::spawn(door.serve(listener, received));
        Self { address, orders, task, _ip: ip }
    }

    /// Where clients connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Behaves so from now on, towards the connections that there are too.
    pub async fn set(&self, mode: ProxyMode) {
        self.order(Order::Set(mode)).await;
    }

    /// Ends all connections that there are, on both sides.
    pub async fn cut(&self) {
        self.order(Order::Cut).await;
    }

    async fn order(&self, order: Order) {
        let (done, is_done) = oneshot::channel();
        let _ = self.orders.send((order, done));
        is_done.await.expect("the proxy runs as long as this value lives");
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The listening side.
#[derive(Debug)]
struct Door {
    address: SocketAddr,
    target: SocketAddr,
    mode: watch::Sender<ProxyMode>,
    connections: JoinSet<()>,
}

impl Door {
    async fn serve(mut self, listener: TcpListener, mut orders: mpsc::UnboundedReceiver<(Order, oneshot::Sender<()>)>) {
        let mut listener = Some(listener);
        loop {
            tokio::select! {
                order = orders.recv() => {
                    let Some((order, done)) = order else { return };
                    match order {
                        Order::Set(ProxyMode::Refuse) => listener = None,
                        Order::Set(_) if listener.is_none() => {
                            let bound = TcpListener::bind(self.address).await;
                            listener = Some(bound.expect("the address is claimed"));
                        }
                        Order::Set(_) => {}
                        Order::Cut => self.connections.shutdown().await,
                    }
                    if let Order::Set(mode) = order {
                        self.mode.send_replace(mode);
                    }
                    let _ = done.send(());
                }
                Some(client) = accept(listener.as_ref()) => {
                    let (target, mode) = (self.target, self.mode.subscribe());
                    self.connections.spawn(async move {
                        // An end of either side is nothing to tell of.
                        let _ = connect(client, target, mode).await;
                    });
                }
                Some(_) = self.connections.join_next() => {}
            }
        }
    }
}

async fn accept(listener: Option<&TcpListener>) -> Option<TcpStream> {
    let (client, _) = listener?.accept().await.ok()?;
    Some(client)
}

/// One connection, to its end.
async fn connect(client: TcpStream, target: SocketAddr, mut mode: watch::Receiver<ProxyMode>) -> io::Result<()> {
    passage(&mut mode).await;
    let server = TcpStream::connect(target).await?;
    client.set_nodelay(true)?;
    server.set_nodelay(true)?;
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    let requests = pass(from_client, to_server, mode.clone(), |_| false);
    let answers = pass(from_server, to_client, mode, |mode| mode == ProxyMode::HalfClose);
    tokio::try_join!(requests, answers).map(drop)
}

/// Passes one direction until its end, or until the mode closes it; then it reads on, so that the other side is not held up.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut mode: watch::Receiver<ProxyMode>,
    closes: impl Fn(ProxyMode) -> bool,
) -> io::Result<()> {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        // `None`: the mode closes this direction.
        let read = tokio::select! {
            biased;
            true = async { mode.wait_for(|&mode| closes(mode)).await.is_ok() } => None,
            read = from.read(&mut buffer) => Some(read?),
        };
        let Some(read) = read else { break };
        passage(&mut mode).await;
        if read == 0 {
            return to.shutdown().await;
        }
        if !closes(*mode.borrow()) {
            to.write_all(&buffer[..read]).await?;
        }
    }
    to.shutdown().await?;
    while from.read(&mut buffer).await? > 0 {}
    Ok(())
}

/// Waits until something may pass.
async fn passage(mode: &mut watch::Receiver<ProxyMode>) {
    let delay = match *mode.borrow_and_update() {
        ProxyMode::Delay(delay) => delay,
        _ => Duration::ZERO,
    };
    tokio::time::sleep(delay).await;
    // The proxy's end ends this task too.
    let _ = mode.wait_for(|&mode| mode != ProxyMode::Drop).await;
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;
    use std::sync::{Arc, Mutex};
    use std::time::Instant;

    use super::*;
    use crate::eventually;

    /// Long enough to be sure that nothing comes.
    const SILENCE: Duration = Duration::from_millis(50);

    /// A server that sends back what it reads, and remembers it.
    async fn echo() -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let all = heard.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let heard = all.clone();
                tokio::spawn(async move {
                    let mut buffer = [0; 1024];
                    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
                        heard.lock().unwrap().extend_from_slice(&buffer[..read]);
                        let _ = stream.write_all(&buffer[..read]).await;
                    }
                });
            }
        });
        (address, heard)
    }

    async fn say(stream: &mut TcpStream, text: &str) -> String {
        stream.write_all(text.as_bytes()).await.unwrap();
        read(stream, text.len()).await
    }

    async fn read(stream: &mut TcpStream, length: usize) -> String {
        let mut buffer = vec![0; length];
        stream.read_exact(&mut buffer).await.unwrap();
        String::from_utf8(buffer).unwrap()
    }

    async fn is_silent(stream: &mut TcpStream) -> bool {
        tokio::time::timeout(SILENCE, stream.read(&mut [0])).await.is_err()
    }

    #[tokio::test]
    async fn passes_both_ways_and_the_end_too() {
        let (address, heard) = echo().await;
        let proxy = TcpProxy::start(address).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut client, "hello").await, "hello");
        client.shutdown().await.unwrap();
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0);
        assert_eq!(*heard.lock().unwrap(), b"hello");
    }

    #[tokio::test]
    async fn refuses_new_connections_only_and_takes_them_again() {
        let proxy = TcpProxy::start(echo().await.0).await;
        let mut before = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut before, "1").await, "1");
        proxy.set(ProxyMode::Refuse).await;
        let error = TcpStream::connect(proxy.address()).await.unwrap_err();
        assert_eq!(error.kind(), ErrorKind::ConnectionRefused);
        assert_eq!(say(&mut before, "2").await, "2");
        proxy.set(ProxyMode::Pass).await;
        let mut after = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut after, "3").await, "3");
    }

    #[tokio::test]
    async fn holds_back_what_is_sent_and_passes_it_afterwards() {
        let (address, heard) = echo().await;
        let proxy = TcpProxy::start(address).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut client, "1").await, "1");
        proxy.set(ProxyMode::Drop).await;
        client.write_all(b"2").await.unwrap();
        let mut late = TcpStream::connect(proxy.address()).await.unwrap();
        late.write_all(b"3").await.unwrap();
        assert!(is_silent(&mut client).await && is_silent(&mut late).await);
        assert_eq!(*heard.lock().unwrap(), b"1");
        proxy.set(ProxyMode::Pass).await;
        assert_eq!(read(&mut client, 1).await, "2");
        assert_eq!(read(&mut late, 1).await, "3");
    }

    #[tokio::test]
    async fn delays_each_way() {
        let proxy = TcpProxy::start(echo().await.0).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut client, "1").await, "1");
        proxy.set(ProxyMode::Delay(Duration::from_millis(30))).await;
        let started = Instant::now();
        assert_eq!(say(&mut client, "2").await, "2");
        assert!(started.elapsed() >= Duration::from_millis(60), "{:?}", started.elapsed());
    }

    #[tokio::test]
    async fn half_closed_a_request_arrives_and_its_answer_is_lost() {
        let (address, heard) = echo().await;
        let proxy = TcpProxy::start(address).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut client, "1").await, "1");
        proxy.set(ProxyMode::HalfClose).await;
        assert_eq!(client.read(&mut [0]).await.unwrap(), 0, "the end, although nobody sent anything");
        client.write_all(b"2").await.unwrap();
        eventually("the request", async || (*heard.lock().unwrap() == b"12").then_some(())).await;
        proxy.set(ProxyMode::Pass).await;
        let mut fresh = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut fresh, "3").await, "3");
    }

    #[tokio::test]
    async fn cuts_what_is_connected_and_goes_on() {
        let proxy = TcpProxy::start(echo().await.0).await;
        let mut client = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut client, "1").await, "1");
        proxy.cut().await;
        assert!(matches!(client.read(&mut [0]).await, Ok(0) | Err(_)));
        let mut fresh = TcpStream::connect(proxy.address()).await.unwrap();
        assert_eq!(say(&mut fresh, "2").await, "2");
    }
}
