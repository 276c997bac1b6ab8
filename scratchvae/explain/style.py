"""How the page looks, and the few lines of script that mark an array's uses; without them nothing is hidden."""

STYLE = """
:root{--ink:#1b1b1b;--paper:#fff;--faint:#667;--line:#d5d8dd;--back:#f5f6f8;--mark:#ffe58a;--blue:#2058a8;--bad:#b3122c;
--good:#1d6b35;color-scheme:light dark}
@media (prefers-color-scheme:dark){:root{--ink:#e8e8ea;--paper:#17181b;--faint:#a0a4ad;--line:#3a3d44;--back:#202227;
--mark:#6a5500;--blue:#8fbaf5;--bad:#ff8095;--good:#7fd69a}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:1500px;padding:1rem;font:16px/1.45 system-ui,sans-serif;color:var(--ink);
background:var(--paper)}
h1{font-size:1.6rem;margin:.2rem 0}h2{font-size:1.25rem;margin:1.6rem 0 .5rem}
h3,h4,h5,h6{font-size:1rem;margin:.4rem 0}
code,pre,.code{font-family:ui-monospace,"DejaVu Sans Mono",Menlo,Consolas,monospace;font-size:.84rem}
a{color:var(--blue)}.faint{color:var(--faint)}.wrong{color:var(--bad);font-weight:600}.good{color:var(--good)}
.strip figure{margin:0}.strip{display:flex;flex-wrap:wrap;gap:1rem 2rem;align-items:center}
.wide{overflow-x:auto}
svg{max-width:100%;height:auto}svg text{fill:var(--ink);font:13px system-ui,sans-serif}svg .small{font-size:11px}
.bars{width:590px}.bar{fill:#7a9cc6}.bar.up{fill:#c98a3c}.bar.sum{fill:#8a8f99}.edge{fill:none;stroke:#7a9cc6;opacity:.8}
.node{fill:var(--back);stroke:var(--line)}
.pair{display:grid;grid-template-columns:minmax(0,1fr) minmax(0,1fr);gap:0 1rem;border-top:1px solid var(--line);
padding:.35rem 0}
.pair>.unfold{grid-column:1/-1}
.one{border-top:1px solid var(--line);padding:.35rem 0}
.heads{font-weight:600;color:var(--faint);border-top:0}
.cell{min-width:0}
.step{display:grid;grid-template-columns:2.2rem minmax(0,1fr);margin:.1rem 0 .5rem}
.n{color:var(--faint);font-size:.8rem;padding-top:.15rem}
pre.code{margin:0;white-space:pre-wrap;overflow-wrap:anywhere}
.code a{color:inherit;text-decoration:underline;text-decoration-color:var(--line);text-underline-offset:3px;
border-radius:3px}
.code .c{color:var(--faint)}.plumbing .code{color:var(--faint)}
.worked{font:.78rem ui-monospace,"DejaVu Sans Mono",monospace;color:var(--faint);overflow-wrap:anywhere;
flex-basis:100%}
table{border-collapse:collapse;font-size:.88rem}th{text-align:left;vertical-align:top;padding:.1rem 1rem .1rem 0;
font-weight:600;white-space:nowrap}
.derived{font-size:.88rem}.derived pre,.numbers pre{overflow-x:auto}.derived.here{margin-left:1rem}
a:focus-visible,summary:focus-visible{outline:2px solid var(--blue);outline-offset:1px}
.lit{background:var(--mark)}
.eq{margin:.15rem 0;overflow-x:auto;overflow-y:hidden;padding:.1rem 0}
.eq [data-equation]{font-size:.8rem}math{font-size:1.05rem}
msub>:nth-child(2){position:relative;top:.15em}
.eq .no{color:var(--faint);font-size:.8rem;margin-right:.6rem}
.made{display:flex;flex-wrap:wrap;gap:.2rem .7rem;align-items:center;margin:.2rem 0;font-size:.85rem}
img{image-rendering:pixelated}.made img{border:1px solid var(--line);max-width:100%;height:auto}
.made>*{min-width:0;max-width:100%}.numbers[open]{flex-basis:100%}
.made .name{font-family:ui-monospace,"DejaVu Sans Mono",monospace;font-weight:600;border-radius:3px;padding:0 .15rem}
.origin{scroll-margin-top:40vh;outline:3px solid var(--bad);padding:.3rem;border-radius:6px}
details{margin:.2rem 0}.derived{scroll-margin-top:2rem}summary{cursor:pointer;color:var(--blue);font-size:.85rem}
.unfold>.inside{border-left:3px solid var(--line);background:var(--back);padding:.3rem .6rem;margin:.3rem 0}
.numbers pre{font-size:.74rem;overflow-x:auto;margin:.2rem 0;max-height:18rem}
.words{font-size:.88rem;margin:.1rem 0 .4rem}
@media screen and (max-width:760px){.pair{grid-template-columns:minmax(0,1fr)}.heads{display:none}
.back{border-left:3px solid #7a9cc6;padding-left:.5rem}body{padding:.6rem}}
@page{size:landscape;margin:12mm}
@media print{:root{--ink:#000;--paper:#fff;--faint:#444;--line:#bbb;--back:#fff;--mark:#fff;--blue:#000;--bad:#900;
--good:#060}body{max-width:none;font-size:9pt;padding:0}.numbers:not([open]),.derived:not([open]),.unfold>summary{
display:none}.step,.made,figure{break-inside:avoid}a{color:inherit}.numbers pre{max-height:none;font-size:6pt;
white-space:pre-wrap}svg{min-width:0!important}}
"""

SCRIPT = """
const light=e=>{const a=e.target.closest?.('[data-a]');
document.querySelectorAll('.lit').forEach(n=>n.classList.remove('lit'));
if(a)document.querySelectorAll('[data-a="'+a.dataset.a+'"]').forEach(n=>n.classList.add('lit'))};
for(const t of ['mouseover','focusin'])document.addEventListener(t,light);
addEventListener('beforeprint',()=>document.querySelectorAll('.unfold,.few').forEach(d=>d.open=true));
addEventListener('click',e=>{const a=e.target.closest?.('a.no');if(!a)return;e.preventDefault();
const eq=a.parentNode,old=eq.querySelector('.here');if(old){old.remove();return}
const copy=document.getElementById(a.hash.slice(1)).cloneNode(true);copy.removeAttribute('id');copy.open=true;
copy.className+=' here';eq.append(copy)});
"""
