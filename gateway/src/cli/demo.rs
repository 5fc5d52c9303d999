//! `strait demo`: two gateways with a bad link between them.

use crate::demo::DemoArgs;

pub(super) fn run(args: DemoArgs) -> anyhow::Result<()> {
    crate::demo::main(args)
}
