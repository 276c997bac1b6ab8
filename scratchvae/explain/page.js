const light=e=>{const a=e.target.closest?.('[data-a]');
document.querySelectorAll('.lit').forEach(n=>n.classList.remove('lit'));
if(a)document.querySelectorAll('[data-a="'+a.dataset.a+'"]').forEach(n=>n.classList.add('lit'))};
for(const t of ['mouseover','focusin'])document.addEventListener(t,light);
addEventListener('beforeprint',()=>document.querySelectorAll('.unfold,.few').forEach(d=>d.open=true));
addEventListener('click',e=>{const a=e.target.closest?.('a.no');if(!a)return;e.preventDefault();
const eq=a.parentNode,old=eq.querySelector('.here');if(old){old.remove();return}
const copy=document.getElementById(a.hash.slice(1)).cloneNode(true);copy.removeAttribute('id');copy.open=true;
copy.className+=' here';eq.append(copy)});
