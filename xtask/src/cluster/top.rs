//! `cluster top`: the whole of a cluster on one screen, as it changes.

mod draw;
mod model;
#[cfg(test)]
mod tests;

use std::{
    io::IsTerminal,
    pin::pin,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context, bail};
use clap::Args;
use crossterm::event::{Event, EventStream, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use futures_util::StreamExt;
use pgherd_orchestrator::{Engine, Look, Lookout, ReconcileError};
use ratatui::{
    DefaultTerminal, Terminal,
    backend::Backend,
    layout::{Constraint, Layout},
    text::Line,
    widgets::Paragraph,
};
use tokio::{
    sync::mpsc,
    time::{MissedTickBehavior, interval, sleep},
};

use self::model::Model;
use super::{NameArg, psql::told_to_quit, status, watch::seconds};
use crate::output;

/// The width of a frame that goes into a file or a pipe, in columns.
const WIDTH: u16 = 120;

#[derive(Args)]
pub(super) struct TopArgs {
    #[command(flatten)]
    name: NameArg,
    /// How long it is from look to look, in seconds
    #[arg(long, default_value = "1", value_name = "SECONDS", value_parser = seconds)]
    every: Duration,
    /// Prints one frame as text, after two looks, and exits as "status" does
    #[arg(long)]
    once: bool,
}

pub(super) async fn top(engine: &Engine, args: &TopArgs) -> anyhow::Result<ExitCode> {
    if !args.once && !std::io::stdout().is_terminal() {
        bail!(
            "cannot draw where there is no terminal\n\
             hint: \"top --once\" prints one frame, and \"status --watch\" one verdict after the other."
        );
    }
    let name = &args.name.name;
    let mut lookout = Lookout::new(engine, name);
    let began = Instant::now();
    let Look { observed, report, .. } = lookout.look().await?;
    let mut model = Model::new(name, began.elapsed(), &observed, report);
    if args.once {
        // Rates are between two looks.
        sleep(args.every).await;
        let Look { observed, report, .. } = lookout.look().await?;
        model.fold(began.elapsed(), &observed, report);
        let width = crossterm::terminal::size().ok().filter(|_| std::io::stdout().is_terminal());
        for line in draw::page(&model, width.map_or(WIDTH, |(columns, _)| columns).into()) {
            output::line(line.to_string().trim_end())?;
        }
        return Ok(status::exit_code(&model.report));
    }
    let (sender, receiver) = mpsc::channel(1);
    tokio::select! {
        shown = show(model, began, receiver) => shown,
        () = look_again(lookout, args.every, sender) => Ok(ExitCode::SUCCESS),
    }
}

type Looked = Result<Look, ReconcileError>;

/// Looks until nobody wants to know any more. A look may take long: keys are answered meanwhile.
async fn look_again(mut lookout: Lookout, every: Duration, to: mpsc::Sender<Looked>) {
    let mut ticks = interval(every);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        if to.send(lookout.look().await).await.is_err() {
            return;
        }
    }
}

/// The user's terminal, which is what it was as soon as this is dropped, or panics.
struct Screen(DefaultTerminal);

impl Screen {
    fn enter() -> anyhow::Result<Screen> {
        ratatui::try_init().map(Screen).context("could not switch the terminal to a full screen")
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        ratatui::restore();
    }
}

async fn show(mut model: Model, began: Instant, mut looks: mpsc::Receiver<Looked>) -> anyhow::Result<ExitCode> {
    let mut screen = Screen::enter()?;
    let mut keys = EventStream::new();
    let mut told = pin!(told_to_quit());
    let mut scrolled = 0;
    loop {
        draw_on(&mut screen.0, &model, &mut scrolled)?;
        tokio::select! {
            looked = looks.recv() => match looked {
                Some(Ok(Look { observed, report, .. })) => model.fold(began.elapsed(), &observed, report),
                Some(Err(error)) => model.trouble = Some(error.to_string().replace('\n', "; ")),
                None => return Ok(ExitCode::SUCCESS),
            },
            event = keys.next() => match event.transpose()? {
                Some(Event::Key(key)) if quits(key) => return Ok(ExitCode::SUCCESS),
                Some(Event::Key(key)) => scrolled = scroll(key, scrolled),
                // Any other, such as a new size, is answered by drawing.
                Some(_) => {}
                None => return Ok(ExitCode::SUCCESS),
            },
            code = &mut told => return Ok(ExitCode::from(u8::try_from(code).unwrap_or(1))),
        }
    }
}

fn quits(key: KeyEvent) -> bool {
    let is_ctrl_c = key.code == KeyCode::Char('c') && key.modifiers.contains(KeyModifiers::CONTROL);
    key.kind == KeyEventKind::Press && (is_ctrl_c || matches!(key.code, KeyCode::Char('q') | KeyCode::Esc))
}

fn scroll(key: KeyEvent, scrolled: u16) -> u16 {
    match key.code {
        KeyCode::Down | KeyCode::Char('j') => scrolled.saturating_add(1),
        KeyCode::Up | KeyCode::Char('k') => scrolled.saturating_sub(1),
        KeyCode::Home => 0,
        _ => scrolled,
    }
}

/// Draws what fits, from where it is scrolled to, and never beyond the end.
fn draw_on<B: Backend>(terminal: &mut Terminal<B>, model: &Model, scrolled: &mut u16) -> Result<(), B::Error> {
    terminal.draw(|frame| {
        let [area, below] = Layout::vertical([Constraint::Fill(1), Constraint::Length(1)]).areas(frame.area());
        let page = draw::page(model, area.width.into());
        let hidden = page.len().saturating_sub(area.height.into());
        *scrolled = (*scrolled).min(u16::try_from(hidden).unwrap_or(u16::MAX));
        frame.render_widget(Paragraph::new(page).scroll((*scrolled, 0)), area);
        frame.render_widget(Line::raw(if hidden > 0 { "q quits, the arrows scroll" } else { "q quits" }), below);
    })?;
    Ok(())
}
