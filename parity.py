"""Scratch parity check: python parity.py NAME... (steps, tasks from env vars)"""
import os, sys, warnings
import numpy as np, metaworld
from metaworld.policies import ENV_POLICY_MAP
from metaworld.env_dict import ALL_V3_ENVIRONMENTS
from envs.core import Task
from envs.metaworld.engine import MetaWorldEngine
from envs.metaworld.reference import encode
STEPS=int(os.environ.get("STEPS",150)); TASKS=int(os.environ.get("TASKS",2))
KEYS=("near_object","grasp_reward","in_place_reward","obj_to_target","unscaled_reward")
def rand_vecs(name):
    import pickle
    return [pickle.loads(t.data)["rand_vec"] for t in metaworld.ML1(name, seed=3).train_tasks[:TASKS]]
def check(name):
    worst={}
    for mode in ("expert","random","mix"):
        for k, vec in enumerate(rand_vecs(name)):
            task=Task(name, vec)
            ref=ALL_V3_ENVIRONMENTS[name](reward_function_version="v2"); ref.set_task(encode(task))
            eng=MetaWorldEngine(2, threads=1); eng.set_tasks([task,task])
            o,_=ref.reset(); O,_=eng.reset()
            assert np.array_equal(o,O[0]), (name,"reset obs", np.abs(o-O[0]).max())
            rng=np.random.default_rng(k); pol=ENV_POLICY_MAP[name]()
            for t in range(STEPS):
                full=o.copy(); full[36:39]=ref._target_pos
                a=np.clip(pol.get_action(full),-1,1) if mode=="expert" or (mode=="mix" and (t//20)%2==0) else rng.uniform(-1,1,4)
                a=np.asarray(a,dtype=np.float64)
                o,r,_,_,info=ref.step(a); O,R,_,_,I=eng.step(np.stack([a,a]))
                sim=eng._chunks[0].simulations[0].data
                dq=max(np.abs(sim.qpos-ref.data.qpos).max(), np.abs(sim.qvel-ref.data.qvel).max())
                d={"q":dq,"obs":np.abs(O[0]-o).max(),"reward":abs(R[0]-r)/max(1e-12,abs(r)) if abs(R[0]-r)>1e-13 else 0.,"success":float(bool(I["success"][0])!=bool(info["success"]))}
                for key in KEYS: d[key]=abs(float(I[key][0])-float(info[key]))/max(1.,abs(float(info[key])))
                for n,v in d.items():
                    if v>worst.get(n,(-1,))[0]: worst[n]=(v,mode,k,t)
            eng.close()
    bad={n:v for n,v in worst.items() if v[0]>{"q":0,"obs":1e-12,"reward":1e-9,"success":0}.get(n,1e-9)}
    print(name, "OK" if not bad else f"BAD {bad}", {n:f"{v[0]:.1e}" for n,v in worst.items() if v[0]>0}, flush=True)
    return not bad
if __name__=="__main__":
    sys.exit(not all([check(n) for n in sys.argv[1:]]))
