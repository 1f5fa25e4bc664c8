"""Reference values of cosmology.csv beside this script: python cosmology.py > cosmology.csv

Distances by astropy (FlatLambdaCDM, LambdaCDM) with Tcmb0 = 0, that is without radiation; E(z) by its efunc.
"""
import astropy
from astropy.cosmology import FlatLambdaCDM, LambdaCDM

print(f"# cosmology.py, astropy {astropy.__version__}: LambdaCDM and FlatLambdaCDM with Tcmb0=0; distances in Mpc from z1 to z2")
print("h0,omega_m,omega_lambda,z1,z2,e,comoving,angular")
for h0, om, ol in [(70, 0.3, 0.7), (67.4, 0.315, 0.685), (70, 1, 0), (70, 0.3, 0), (72, 0.25, 0.6), (50, 0.05, 0.3), (100, 0.01, 0.0)]:
    c = FlatLambdaCDM(h0, om, Tcmb0=0) if om + ol == 1 else LambdaCDM(h0, om, ol, Tcmb0=0)
    for z1, z2 in [(0, 0.01), (0, 0.5), (0, 2), (0, 10), (0, 1089), (0.1, 0.11), (0.3, 0.5), (0.5, 2), (1.5, 7.5)]:
        comoving = c.comoving_distance(z1, z2).value
        angular = c.angular_diameter_distance(z1, z2).value
        print(",".join(f"{v:.17g}" for v in [h0, om, ol, z1, z2, c.efunc(z2), comoving, angular]))
