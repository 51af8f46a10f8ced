//! Network namespaces for a hub and two sites, with a link from each site to the hub.
//!
//! A link is slow with `tc tbf`. It has delay and losses with `tc netem`; where the kernel has none, a relay of
//! our own in the site's namespace holds every segment for the delay, and one in a hundred for a retransmission
//! as well.

use std::process::{Command, Stdio};

/// The namespaces: first the hub's.
const SPACES: [&str; 3] = ["khub-faults-hub", "khub-faults-0", "khub-faults-1"];

/// How a link is.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Link {
    /// One way.
    pub(super) delay_ms: u64,
    /// Of the packets.
    pub(super) loss_percent: f64,
    /// Thousands of bits a second; 0 is as fast as can be.
    pub(super) kbit: u64,
}

/// The namespaces; they go with it.
#[derive(Debug)]
pub(super) struct Network {
    netem: bool,
}

impl Network {
    /// Makes the namespaces; what an earlier run left is removed first.
    pub(super) fn build() -> Result<Self, String> {
        if !quiet("ip", &["-Version"]) || !quiet("tc", &["-Version"]) {
            // On the machines this runs on, it is one small package of the distribution's.
            let install = ["install", "--yes", "--no-install-recommends", "iproute2"];
            if !quiet("apt-get", &install) {
                return Err("there is no ip and no tc: install iproute2".into());
            }
        }
        remove();
        if !quiet("ip", &["netns", "add", SPACES[0]]) {
            return Err("no network namespace can be made: run it as root".into());
        }
        let mut network = Self { netem: false };
        tell("ip", &["-n", SPACES[0], "link", "set", "lo", "up"])?;
        for site in 0..2 {
            let (space, here, there) = (SPACES[site + 1], format!("hub{site}"), "uplink".to_owned());
            tell("ip", &["netns", "add", space])?;
            tell("ip", &["-n", space, "link", "set", "lo", "up"])?;
            let peer = ["type", "veth", "peer", "name", &there, "netns", space];
            tell(
                "ip",
                &[&["-n", SPACES[0], "link", "add", &here][..], &peer].concat(),
            )?;
            for (space, device, end) in [(SPACES[0], &here, 1), (space, &there, 2)] {
                let address = format!("10.99.{site}.{end}/24");
                tell("ip", &["-n", space, "address", "add", &address, "dev", device])?;
                tell("ip", &["-n", space, "link", "set", device, "up"])?;
            }
        }
        let try_it = [
            "-n", SPACES[1], "qdisc", "replace", "dev", "uplink", "root", "netem", "delay", "1ms",
        ];
        network.netem = quiet("tc", &try_it);
        Ok(network)
    }

    /// How its links are made, in words.
    pub(super) fn described(&self) -> &'static str {
        if self.netem {
            "network namespaces, veth, tc netem"
        } else {
            "network namespaces, veth, tc tbf; delay and losses by a relay, because this kernel has no netem"
        }
    }

    /// Whether sites reach the hub through a relay.
    pub(super) fn relays(&self, link: Link) -> bool {
        !self.netem && (link.delay_ms > 0 || link.loss_percent > 0.0)
    }

    /// Makes both links so.
    pub(super) fn shape(&self, link: Link) -> Result<(), String> {
        for site in 0..2 {
            let here = format!("hub{site}");
            for (space, device) in [(SPACES[0], here.as_str()), (SPACES[site + 1], "uplink")] {
                let device = ["-n", space, "qdisc", "replace", "dev", device, "root"];
                let rate = format!("{}kbit", link.kbit);
                let (delay, loss) = (format!("{}ms", link.delay_ms), format!("{}%", link.loss_percent));
                let mut how = vec!["pfifo_fast"];
                if self.netem {
                    how = vec!["netem", "delay", &delay, "loss", &loss, "limit", "100000"];
                    if link.kbit > 0 {
                        how.extend(["rate", &rate]);
                    }
                } else if link.kbit > 0 {
                    how = vec!["tbf", "rate", &rate, "burst", "16kb", "latency", "500ms"];
                }
                tell("tc", &[&device[..], &how].concat())?;
            }
        }
        Ok(())
    }

    /// Cuts a site's link, or mends it.
    pub(super) fn cut(&self, site: usize, cut: bool) -> Result<(), String> {
        let how = if cut { "down" } else { "up" };
        tell("ip", &["-n", SPACES[site + 1], "link", "set", "uplink", how])
    }

    /// `program` in the hub's namespace.
    pub(super) fn at_hub(&self, program: &std::path::Path) -> Command {
        inside(SPACES[0], program)
    }

    /// `program` in a site's namespace.
    pub(super) fn at_site(&self, site: usize, program: &std::path::Path) -> Command {
        inside(SPACES[site + 1], program)
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        remove();
    }
}

/// The hub's address as a site sees it.
pub(super) fn hub_address(site: usize) -> String {
    format!("10.99.{site}.1")
}

fn inside(space: &str, program: &std::path::Path) -> Command {
    let mut command = Command::new("ip");
    command.args(["netns", "exec", space]).arg(program);
    command
}

fn remove() {
    for space in SPACES {
        quiet("ip", &["netns", "delete", space]);
    }
}

/// Whether it went well.
fn quiet(program: &str, arguments: &[&str]) -> bool {
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

fn tell(program: &str, arguments: &[&str]) -> Result<(), String> {
    let said = Command::new(program).args(arguments).output();
    let said = said.map_err(|e| format!("{program}: {e}"))?;
    if said.status.success() {
        return Ok(());
    }
    let why = String::from_utf8_lossy(&said.stderr);
    Err(format!("{program} {}: {}", arguments.join(" "), why.trim()))
}
