//! What collapsing does to programs, as numbers: `cargo run --release -p autodiff --example collapse [-- --listing]`.
//!
//! The sum of second derivatives of one sine along R directions, written by hand as standard Taylor mode, before and after
//! `Program::collapse`; then nodes, products and flops of the Laplacian of a perceptron by standard Taylor mode, collapsed by the rewrite, and
//! collapsed directly.

use autodiff::pde::{Operator, Pde, Strategy};
use autodiff::{Error, Jet, Program, TensorType, trace};

/// `sum_r` of the second-order coefficients of `f` in the directions that are inputs, standard Taylor mode.
fn summed(f: &Program, directions: usize) -> Result<Program, Error> {
    let jet = f.jet(&[0], &Jet::new(2, directions).straight())?;
    let ports: Vec<_> =
        jet.inputs().iter().enumerate().map(|(i, p)| (p.name.as_str(), jet.input_type(i).clone())).collect();
    trace(&ports, |t, x| {
        let all = t.call(&jet, &x.iter().collect::<Vec<_>>());
        vec![("sum", all[2].sum(&[0]))]
    })
}

fn row(name: &str, p: &Program) {
    let dots: Vec<u64> = p
        .nodes()
        .iter()
        .filter(|n| n.op.name().starts_with("dot"))
        .map(|n| {
            let args: Vec<&TensorType> = n.args.iter().map(|&a| &p.node(a).ty).collect();
            n.op.flops(&args, &n.ty)
        })
        .collect();
    let in_dots: u64 = dots.iter().sum();
    println!("| {name} | {} | {} | {in_dots} | {} |", p.nodes().len(), dots.len(), p.flops());
}

fn main() -> Result<(), Error> {
    let listing = std::env::args().any(|a| a == "--listing");
    let sine = trace(&[("x", TensorType::real(&[4]))], |_, x| vec![("y", x[0].sin())])?;
    let before = summed(&sine, 3)?.inline()?;
    println!(
        "One sine, three directions, before and after collapsing:\n\n```text\n{before}```\n\n```text\n{}```\n",
        before.collapse()?
    );

    let (d, h) = (8, 64);
    let ports = [
        ("x", TensorType::real(&[1, d])),
        ("u", TensorType::real(&[d, h])),
        ("v", TensorType::real(&[h, h])),
        ("w", TensorType::real(&[h, 1])),
    ];
    let net = trace(&ports, |_, t| vec![("f", t[0].matmul(&t[1]).tanh().matmul(&t[2]).tanh().matmul(&t[3]))])?;
    let standard = summed(&net, d)?.simplify()?;
    let collapsed = standard.collapse()?;
    if listing {
        println!("```text\n{standard}```\n\n```text\n{collapsed}```\n");
    }
    println!("| Laplacian of {d}-{h}-{h}-1 (directions are inputs) | nodes | products | flops in products | flops |");
    println!("|---|---|---|---|---|");
    row("standard", &standard);
    row("collapsed by the rewrite", &collapsed);
    println!("\n| Laplacian of {d}-{h}-{h}-1 (unit directions) | nodes | products | flops in products | flops |");
    println!("|---|---|---|---|---|");
    let pde = |strategy| Pde::new(&net, 0).strategy(strategy).operator("laplacian", Operator::Laplacian).build();
    row("nested", &pde(Strategy::Nested)?);
    row("standard", &pde(Strategy::Taylor)?);
    row("standard, collapsed by the rewrite", &pde(Strategy::Taylor)?.collapse()?);
    row("collapsed", &pde(Strategy::Collapsed)?);
    row("collapsed, stacked", &pde(Strategy::Collapsed)?.stack()?);
    Ok(())
}
