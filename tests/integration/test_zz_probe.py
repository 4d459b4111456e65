import time
import psutil
from concurrent.futures import ThreadPoolExecutor
def test_x(api, front):
    path = f"/api/payments/{api.deposit().json()['id']}"
    p=psutil.Process(front.running["web"].pid)
    for n in (4,10,14,18,24,40):
        t0=time.monotonic()
        with ThreadPoolExecutor(60) as pool:
            w=[pool.submit(api.get,path,wait=3) for _ in range(n)]
            time.sleep(0.7)
            t1=time.monotonic(); api.get(path); q=time.monotonic()-t1
            print(n,"quick",round(q,2),"done",sum(x.done() for x in w),"threads",[c.num_threads() for c in p.children(recursive=True)])
