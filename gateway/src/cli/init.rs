//! `strait init`: a new data directory.

use std::net::SocketAddr;

use strait_transport::SiteName;

use super::{Globals, output::say};
use crate::config::{self, Template, check_address, fingerprint};
use crate::datadir::DataDir;

#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// This site's name: 1 to 32 of a-z, 0-9 and '-', a letter first. Chosen for good
    #[arg(long, value_name = "NAME")]
    site: SiteName,
    /// UDP address for links to other gateways
    #[arg(long, value_name = "IP:PORT")]
    link: Option<SocketAddr>,
    /// TCP address for Redis clients
    #[arg(long, value_name = "IP:PORT")]
    grid: Option<SocketAddr>,
    /// TCP address for metrics and status
    #[arg(long, value_name = "IP:PORT")]
    http: Option<SocketAddr>,
    /// Where peers reach this gateway from outside; may be given several times
    #[arg(long, value_name = "HOST:PORT", value_parser = parse_address)]
    advertise: Vec<String>,
}

pub(super) fn run(globals: &Globals, args: Args) -> anyhow::Result<()> {
    let site = args.site.clone();
    let text = template(args).render();
    // The same checks as at start-up: --http 0.0.0.0:7441 is refused here already.
    config::parse(&globals.layout().config(), &text, None)?;
    let dir = DataDir::create(&globals.data, &text)?;
    let data = globals.data.display();
    let key = fingerprint(&dir.identity().public_key());
    let file = dir.layout().config();
    say(format_args!(
        "made {data} for site {site}, key {key}

next:
  1. look through {}
  2. strait --data {data} pair           prints this site's token
  3. strait --data {data} pair TOKEN     adds the other site by its token
  4. strait --data {data} run
",
        file.display()
    ))
}

fn template(args: Args) -> Template {
    let mut template = Template::new(args.site);
    template.link = args.link.unwrap_or(template.link);
    template.grid = args.grid.unwrap_or(template.grid);
    template.http = args.http.unwrap_or(template.http);
    template.advertise = args.advertise;
    template
}

/// For clap: `host:port`, unchanged.
pub(super) fn parse_address(text: &str) -> Result<String, String> {
    check_address(text).map(|()| text.to_owned())
}
