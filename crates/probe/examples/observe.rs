//! Prints what one server says about itself, as JSON.
//!
//! ```console
//! $ cargo run --package pgherd-probe --example observe -- "host=/run/postgresql user=postgres"
//! ```

use std::{env, error::Error};

use pgherd_probe::{connect, observe};

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let conninfo = env::args().nth(1).ok_or("expected a connection string, as in \"host=/run/postgresql\"")?;
    let client = connect(&conninfo.parse()?).await?;
    println!("{}", serde_json::to_string_pretty(&observe(&client).await?)?);
    Ok(())
}
