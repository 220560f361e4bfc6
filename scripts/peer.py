#!/usr/bin/python3
"""Speed of sdnn beside PyTorch, and beside ONNX Runtime and a C probe, interleaved in one run, as rows of a Markdown table.

    make build && scripts/peer.py PEER_DIR --nets logistic,mlp,conv1d --batch 1024 --rounds 3
    scripts/peer.py PEER_DIR --nets vgg16:128,wrn-16-8:32 --ort NODE_MODULES --onnx ONNX_DIR --probe VGG16_STEP --isa avx2

PEER_DIR holds torch_speed.py, a PyTorch script of the same nets, which prints one JSON line for train and one for eval with the
keys of `sdnn bench --json`; it is not part of this repository. Each round runs sdnn, then each variant of the peer; a variant is
a setting that is sometimes the faster one (channels-last memory for images; OpenBLAS with the kernels that the environment
forces, if it forces any, and with its own choice). The peer runs with the MALLOC settings that keep glibc from giving memory back
between steps, which make it faster. A row gives the best and the median of all rounds, of the better variant, and their ratios.

--ort and --onnx add ONNX Runtime's evaluation: PEER_DIR/ort_speed.js on node, with the packages in the folder --ort, on the
nets in the folder --onnx, which torch_speed.py writes where they are missing. --probe adds a program that computes the VGG16
training step of 128 images and prints "step MILLISECONDS ms", given the number of repetitions. --bf16 adds sdnn --precision bf16
and PyTorch --amp bf16, and compares both with either's f32.

--isa avx2 holds sdnn, PyTorch's own kernels, oneDNN and OpenBLAS to AVX2, to compare the AVX2 paths on a machine with AVX-512;
it first asks oneDNN and OpenBLAS what they run and stops if that is something else. ONNX Runtime and the probe have no such
setting.

--log FILE keeps every measurement, and the table is of all that FILE holds: so rounds can be spread over several calls. Only
rounds of the same --isa belong into one file.
"""
import argparse, json, os, re, statistics, subprocess, sys

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument('peer')
ap.add_argument('--nets', default='logistic,mlp,conv1d', help='NET or NET:BATCH, separated by commas')
ap.add_argument('--batch', type=int, default=1024, help='of a net that names none')
ap.add_argument('--threads', type=int, default=2)
ap.add_argument('--rounds', type=int, default=3, help='0: only print what --log holds')
ap.add_argument('--reps', type=int, default=5)
ap.add_argument('--ort', help='folder node_modules with onnxruntime-node')
ap.add_argument('--onnx', help='folder of exported nets, NET-BATCH.onnx')
ap.add_argument('--probe', help='program of the VGG16 step')
ap.add_argument('--bf16', action='store_true')
ap.add_argument('--isa', choices=['avx2'])
ap.add_argument('--log')
ap.add_argument('--sdnn', default='bin/sdnn')
ap.add_argument('--python', default='/usr/bin/python3')
a = ap.parse_args()
if (a.ort is None) != (a.onnx is None):
    ap.error('--ort and --onnx go together')

VIDEO = ('logistic', 'mlp', 'conv1d')
OURS, TORCH, ORT, PROBE = 'sdnn', 'PyTorch', 'ONNX Runtime', 'C probe'
MALLOC = dict(MALLOC_MMAP_MAX_='0', MALLOC_TRIM_THRESHOLD_='100000000000')
# What holds each to AVX2.
OUR_ISA = dict(SDNN_CPU=a.isa) if a.isa else {}
PEER_ISA = dict(ONEDNN_MAX_CPU_ISA='AVX2', DNNL_MAX_CPU_ISA='AVX2', ATEN_CPU_CAPABILITY='avx2', OPENBLAS_CORETYPE='Haswell') if a.isa else {}
torch_speed = os.path.join(a.peer, 'torch_speed.py')
nets = [(n.split(':')[0], int((n.split(':') + [a.batch])[1])) for n in a.nets.split(',')]


def run(cmd, env):
    """The output of a command, stdout and stderr; a failure ends the program."""
    p = subprocess.run(cmd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode:
        sys.exit(f'{" ".join(cmd)} failed with status {p.returncode}:\n{p.stderr}')
    return p.stdout, p.stderr


def lines(cmd, env):
    return [json.loads(l) for l in run(cmd, env)[0].splitlines() if l.startswith('{') and '"best_per_s"' in l]


def torch_envs():
    envs = [{**os.environ, **MALLOC, **PEER_ISA}]
    own = {k: v for k, v in os.environ.items() if not k.startswith('OPENBLAS_')}
    if own.keys() != os.environ.keys() and not a.isa:
        envs.append({**own, **MALLOC})
    return envs


def contestants(net, batch):
    """(who, precision, variant, function that measures it), in the order of a round."""
    common = ['--net', net, '--batch', str(batch), '--threads', str(a.threads), '--reps', str(a.reps)]
    precisions = ['f32', 'bf16'] if a.bf16 and net in VIDEO else ['f32']
    for p in precisions:
        yield OURS, p, '', lambda p=p: lines([a.sdnn, 'bench', '--json', '--precision', p] + common, {**os.environ, **OUR_ISA})
    for p in precisions:
        amp = ['--amp', 'bf16'] if p == 'bf16' else []
        for i, env in enumerate(torch_envs()):
            for layout in [[]] if net in VIDEO else [[], ['--channels-last']]:
                yield TORCH, p, f'{i}{layout}', lambda f=amp + layout, env=env: lines([a.python, torch_speed] + common + f, env)
    if a.ort:
        yield ORT, 'f32', '', lambda: lines(['node', os.path.join(a.peer, 'ort_speed.js'), net, str(batch), onnx(net, batch), str(a.threads), str(a.reps)],
                                            {**os.environ, 'NODE_PATH': a.ort})
    if a.probe and (net, batch) == ('vgg16', 128):
        yield PROBE, 'f32', '', lambda: [probe()]


def onnx(net, batch):
    file = os.path.join(a.onnx, f'{net}-{batch}.onnx')
    if not os.path.exists(file):
        os.makedirs(a.onnx, exist_ok=True)
        run([a.python, torch_speed, '--net', net, '--batch', str(batch), '--export-onnx', file], dict(os.environ))
    return file


def probe():
    out, _ = run([a.probe, str(a.reps)], dict(os.environ))
    ms = [float(m) for m in re.findall(r'step +([0-9.]+) ms', out)]
    if not ms:
        sys.exit(f'{a.probe} printed no "step MILLISECONDS ms":\n{out}')
    return dict(what='train', best_per_s=128e3 / min(ms), median_per_s=128e3 / statistics.median(ms), peak_rss_mib=0)


def verify_isa(net, batch):
    """Stops unless the peer runs AVX2 kernels for this net. oneDNN tells at its calls, OpenBLAS as it starts."""
    env = {**torch_envs()[0], 'DNNL_VERBOSE': '1', 'ONEDNN_VERBOSE': '1', 'OPENBLAS_VERBOSE': '2'}
    out, err = run([a.python, torch_speed, '--net', net, '--batch', str(min(batch, 8)), '--threads', str(a.threads), '--reps', '1'], env)
    calls = re.findall(r'^(?:dnnl|onednn)_verbose,exec,(?:[^,\n]*,)*?cpu,[^,\n]*,([^,\n]*)', out, re.M)
    core = re.findall(r'^Core: (\w+)', out + err, re.M)
    if any('avx512' in c for c in calls) or (core and core[0] != 'Haswell'):
        sys.exit(f'--isa avx2: {net} in PyTorch runs {sorted(set(calls))}, OpenBLAS for {core}')
    print(f'--isa avx2: {net}: oneDNN ran {", ".join(sorted(set(calls))) or "nothing"}; OpenBLAS says {core[0] if core else "nothing"}', file=sys.stderr)


def measure(net, batch, log):
    if a.isa and a.rounds:
        verify_isa(net, batch)
    for _ in range(a.rounds):
        for who, precision, variant, f in contestants(net, batch):
            for l in f():
                keys = ('what', 'best_per_s', 'median_per_s', 'peak_rss_mib')
                log.append(dict(net=net, batch=batch, who=who, precision=precision, variant=variant, **{k: l[k] for k in keys}))
                if a.log:
                    with open(a.log, 'a') as out:
                        out.write(json.dumps(log[-1]) + '\n')


class Side:
    """All measurements of a contestant for a kind of step: of its better variant."""

    def __init__(self, rows):
        best = max(rows, key=lambda r: r['best_per_s'])
        rows = [r for r in rows if r['variant'] == best['variant']]
        self.best, self.median = best['best_per_s'], statistics.median(r['median_per_s'] for r in rows)
        self.rss = max(r['peak_rss_mib'] for r in rows)


def table(net, batch, log):
    for what in ('train', 'eval'):
        rows = {}
        for r in log:
            if (r['net'], r['batch'], r['what']) == (net, batch, what):
                rows.setdefault((r['who'], r['precision']), []).append(r)
        sides = {k: Side(v) for k, v in rows.items()}
        for p in ('f32', 'bf16'):
            ours = sides.get((OURS, p))
            for (who, pp), peer in sides.items():
                if ours is None or who == PROBE or (who == OURS and pp == p) or (p == 'f32' and pp == 'bf16'):
                    continue
                name = who if pp == 'f32' and p == 'f32' else f'{who} {pp}'
                rss = f'{ours.rss:,.0f} / {peer.rss:,.0f}'
                print(f'| {net}{"" if p == "f32" else ", bf16"} | {batch} | {what} | {ours.best:,.0f} / {ours.median:,.0f} | {name} | {peer.best:,.0f} / {peer.median:,.0f} '
                      f'| {ours.best/peer.best:.2f} / {ours.median/peer.median:.2f} | {rss} |', flush=True)
        if (PROBE, 'f32') in sides:
            ours, c = sides[OURS, 'f32'], sides[PROBE, 'f32']
            ms = lambda s: f'{128e3/s.best:,.0f} / {128e3/s.median:,.0f} ms'
            print(f'| {net} | {batch} | step | {ms(ours)} | {PROBE} | {ms(c)} | {c.best/ours.best:.2f} / {c.median/ours.median:.2f} of its time | |', flush=True)


log = []
if a.log and os.path.exists(a.log):
    with open(a.log) as f:
        log = [json.loads(l) for l in f]
print('| net | batch | what | sdnn best / median per s | peer | peer best / median per s | ratio best / median | RSS MiB sdnn / peer |')
print('|---|---|---|---|---|---|---|---|', flush=True)
for net, batch in nets:
    measure(net, batch, log)
    table(net, batch, log)
