"""Writes to wcs.json what astropy 8.0.2 says of headers: the pixel scale at the centre, position angles of the axes. python wcs.py"""
import numpy as np, warnings, json
warnings.simplefilter('ignore')
from astropy.io import fits
from astropy.wcs import WCS
from astropy.coordinates import SkyCoord
import astropy.units as u
d=.2/3600
base=dict(NAXIS=2,NAXIS1=41,NAXIS2=31,CRVAL1=150.,CRVAL2=2.,CRPIX1=21.,CRPIX2=16.,CD1_1=-d,CD1_2=0.,CD2_1=0.,CD2_2=d)
def cards(proj,**k):
    h=dict(base); h['CTYPE1']='RA---'+proj if len(proj)<4 or proj[3]!='-' else 'RA---'+proj; h['CTYPE2']='DEC--'+proj; h.update(k); return h
cases={
 'tan':cards('TAN'),
 'tan_far':cards('TAN',CRPIX1=-200000.,CRPIX2=90000.,RADESYS='FK5',EQUINOX=2000.),
 'tpv':cards('TPV',PV1_0=2e-4,PV1_1=1.03,PV1_2=.01,PV2_0=-1e-4,PV2_1=.98,PV1_7=30.,PV2_4=12.,CRPIX1=300.),
 'scamp':cards('TAN',PV1_0=0.,PV1_1=1.02,PV1_4=3.,PV1_7=5.,PV2_1=1.01,PV2_5=2.,CRPIX1=900.,CRPIX2=-700.),
 'zpn':cards('ZPN',PV2_1=1.,PV2_3=42.,CRPIX1=9000.,CRPIX2=4000.),
 'sip':cards('TAN-SIP',CRPIX1=2000.,CRPIX2=-1500.,A_ORDER=3,B_ORDER=2,A_2_0=1.1e-5,A_1_1=-4e-6,A_0_3=2e-10,B_0_2=-9e-6,B_2_0=3e-6,AP_ORDER=2,BP_ORDER=2,AP_2_0=-1.1e-5,BP_0_2=9e-6),
 'sin':cards('SIN',CRPIX1=200000.,CRPIX2=300000.),
 'stg':cards('STG',CRPIX1=200000.,CRPIX2=300000.),
 'arc':cards('ARC',CRPIX1=200000.,CRPIX2=300000.),
 'zea':cards('ZEA',CRPIX1=200000.,CRPIX2=300000.),
 'car':cards('CAR',CRVAL2=0.,CRPIX1=20.,CRPIX2=-200000.),
 'mer':cards('MER',CRVAL2=0.,CRPIX1=20.,CRPIX2=-200000.),
 'lonpole':cards('TAN',LONPOLE=170.,LATPOLE=10.),
 'pc':{k:v for k,v in cards('TAN',PC1_1=.8,PC1_2=-.6,PC2_1=.6,PC2_2=.8,CDELT1=-d,CDELT2=d,CUNIT1='deg',CUNIT2='deg',WCSAXES=2).items() if not k.startswith('CD')  or k.startswith('CDELT')},
 'crota':{k:v for k,v in cards('TAN',CDELT1=-d,CDELT2=d,CROTA2=33.).items() if not k.startswith('CD') or k.startswith('CDELT')},
 'galactic':dict(cards('TAN'),CTYPE1='GLON-TAN',CTYPE2='GLAT-TAN'),
}
out={}
for n,h in cases.items():
    w=WCS(fits.Header(h)); c=np.array([(h['NAXIS1']+1)/2,(h['NAXIS2']+1)/2])
    def sky(p): return SkyCoord(*w.all_pix2world(*p,1),unit='deg')
    s=1.
    ex=[sky(c-[s,0]),sky(c+[s,0])]; ey=[sky(c-[0,s]),sky(c+[0,s])]
    a=ex[0].separation(ex[1]).arcsec/2/s; b=ey[0].separation(ey[1]).arcsec/2/s
    pa=ex[0].position_angle(ex[1]).rad; pb=ey[0].position_angle(ey[1]).rad
    out[n]=dict(header=h,scale=float(np.sqrt(a*b*abs(np.sin(pa-pb)))),x=float(pa%np.pi),y=float(pb%np.pi))
json.dump(out,open('wcs.json','w'),indent=1)
