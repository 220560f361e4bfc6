#!/usr/bin/python3
"""Speed of sdnn beside PyTorch, interleaved in one run, as rows of a Markdown table.

    make build && scripts/peer.py PEER_DIR --nets logistic,mlp,conv1d --batch 1024 --rounds 3

PEER_DIR holds torch_speed.py, which prints one JSON line for train and one for eval with the keys
of `sdnn bench --json`. Each round runs sdnn, then each variant of the peer; a variant is a setting that
is sometimes the faster one (channels-last memory for images; OpenBLAS with the kernels that the
environment forces, if it forces any, and with its own choice). The peer runs with the MALLOC settings
that keep glibc from giving memory back between steps, which make it faster. A row gives the best and the
median of all rounds, of the better variant, and their ratios.
"""
import argparse, json, os, statistics, subprocess, sys

ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
ap.add_argument('peer')
ap.add_argument('--nets', default='logistic,mlp,conv1d')
ap.add_argument('--batch', type=int, default=1024)
ap.add_argument('--threads', type=int, default=2)
ap.add_argument('--rounds', type=int, default=3)
ap.add_argument('--reps', type=int, default=5)
ap.add_argument('--sdnn', default='bin/sdnn')
ap.add_argument('--python', default='/usr/bin/python3')
a = ap.parse_args()

malloc = dict(MALLOC_MMAP_MAX_='0', MALLOC_TRIM_THRESHOLD_='100000000000')
own = {k: v for k, v in os.environ.items() if not k.startswith('OPENBLAS_')}


def run(cmd, env):
    p = subprocess.run(cmd, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if p.returncode:
        sys.exit(f'{" ".join(cmd)} failed with status {p.returncode}:\n{p.stderr}')
    lines = [json.loads(l) for l in p.stdout.splitlines() if l.startswith('{')]
    return {l['what']: l for l in lines if 'what' in l}


def variants(net):
    envs = [{**os.environ, **malloc}]
    if own.keys() != os.environ.keys():
        envs.append({**own, **malloc})
    flags = [[]] if net in ('logistic', 'mlp', 'conv1d') else [[], ['--channels-last']]
    return [(e, f) for e in envs for f in flags]


print('| net | what | sdnn best / median per s | PyTorch best / median per s | ratio best / median | RSS MiB sdnn / PyTorch |')
print('|---|---|---|---|---|---|', flush=True)
for net in a.nets.split(','):
    common = ['--net', net, '--batch', str(a.batch), '--threads', str(a.threads), '--reps', str(a.reps)]
    ours, theirs = [], [[] for _ in variants(net)]
    for _ in range(a.rounds):
        ours.append(run([a.sdnn, 'bench', '--json'] + common, os.environ))
        for i, (env, flags) in enumerate(variants(net)):
            theirs[i].append(run([a.python, os.path.join(a.peer, 'torch_speed.py')] + common + flags, env))
    for what in ('train', 'eval'):
        def of(rows, key): return [r[what][key] for r in rows]
        peer = max(theirs, key=lambda rows: max(of(rows, 'best_per_s')))
        b, m = max(of(ours, 'best_per_s')), statistics.median(of(ours, 'median_per_s'))
        pb, pm = max(of(peer, 'best_per_s')), statistics.median(of(peer, 'median_per_s'))
        rss, prss = max(of(ours, 'peak_rss_mib')), max(of(peer, 'peak_rss_mib'))
        print(f'| {net} | {what} | {b:,.0f} / {m:,.0f} | {pb:,.0f} / {pm:,.0f} | {b/pb:.2f} / {m/pm:.2f} | {rss:,.0f} / {prss:,.0f} |', flush=True)
