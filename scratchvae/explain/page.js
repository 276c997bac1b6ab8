const light=e=>{const a=e.target.closest?.('[data-a]');
document.querySelectorAll('.lit').forEach(n=>n.classList.remove('lit'));
if(a)document.querySelectorAll('[data-a="'+a.dataset.a+'"]').forEach(n=>n.classList.add('lit'))};
for(const t of ['mouseover','focusin'])document.addEventListener(t,light);
addEventListener('beforeprint',()=>document.querySelectorAll('.unfold,.few').forEach(d=>d.open=true));
addEventListener('click',e=>{const a=e.target.closest?.('a.no');if(!a)return;e.preventDefault();
const eq=a.parentNode,old=eq.querySelector('.here');if(old){old.remove();return}
const copy=document.getElementById(a.hash.slice(1)).cloneNode(true);copy.removeAttribute('id');copy.open=true;
copy.className+=' here';eq.append(copy)});
addEventListener('click',e=>{                          // a cell of a product: the sum that it is
const pre=e.target.closest?.('.numbers pre'),eqs=pre&&[...pre.closest('.step').querySelectorAll('[data-sum]')];
const name=pre?.closest('.made').querySelector('.name').textContent.replace('self.','');
const eq=eqs?.map(q=>[q,JSON.parse(q.dataset.sum)]).find(([,s])=>s.of[1]===name);if(!eq)return;
const at=document.caretPositionFromPoint?.(e.clientX,e.clientY)??document.caretRangeFromPoint(e.clientX,e.clientY);
const before=pre.textContent.slice(0,at.offset??at.startOffset),line=before.slice(before.lastIndexOf('\n')+1);
const row=line.match(/^ *(\d+):/);if(!row)return;
const column=Math.max(0,line.slice(row[0].length).trim().split(/ +/).length-1);
const picture=[...before.matchAll(/row (\d+), as \d+ by (\d+)/g)].pop(),cell=picture?
[+picture[1],row[1]*picture[2]+column]:[+row[1],column],[q,s]=eq,where={};
s.of[2].forEach((letter,k)=>where[letter]=cell[s.of[2].length===1?1:k]);
const entry=([a,,at])=>at.length===1?arrays[a][0][where[at[0]]]:arrays[a][where[at[0]]][where[at[1]]];
const size=Math.max(...s.times.map(([a,,at])=>at.indexOf(s.over)?arrays[a][0].length:arrays[a].length)),terms=[];
let total=0,short=v=>String(v).replace('-','−'),sign=v=>v<0?'('+short(v)+')':short(v);
for(where[s.over]=0;where[s.over]<size;where[s.over]++){const f=s.times.map(entry);total+=f.reduce((a,b)=>a*b,1);
terms.push(f.map(sign).join(' · '))}
s.plus.map(entry).forEach(v=>{total+=v;terms.push(sign(v))});
const out=q.querySelector('.asked')??q.appendChild(Object.assign(document.createElement('div'),{className:'worked asked'}));
out.textContent=name+'['+s.of[2].map(l=>where[l]).join(', ')+'] = '+terms.join(' + ')+' = '+short(+total.toPrecision(4));
out.setAttribute('role','status')});
